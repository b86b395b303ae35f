"""NIR projections take no time, ours one step or two: lags and delays that make up for it.

A network and its NIR image fire the same spikes, each population a fixed *lag* behind its image. Of
a way from a source to a target, with all times in steps::

    lag of source + steps on the chip = lag of target + delay in NIR (+ 1 if it leads back)

A way leads back if every path from the input to its source passes its target: it closes a loop,
and any tool that runs a graph step by step takes what it carries from the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from mapping.errors import UnsupportedModelError
from mapping.ir.network import LowRank, Projection

_OUTSIDE = ""
"""What feeds all populations that nothing else feeds; no population has that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How signals get from one population to another.

    Attributes:
        name: of the projection.
        source, target: populations.
        steps: that synapses and relays take on the chip, without axonal delays.
        delay: the shortest that the graph asks for.
    """

    name: str
    source: str
    target: str
    steps: int
    delay: int = 0


def ways_of(projections: Iterable[Projection]) -> list[Way]:
    """The ways in a network."""
    return [
        Way(
            name=p.name,
            source=p.source,
            target=p.target,
            steps=2 if isinstance(p, LowRank) else 1,
        )
        for p in projections
    ]


def leading_back(ways: Iterable[Way]) -> frozenset[str]:
    """The names of the ways that close a loop.

    Raises:
        UnsupportedModelError: ADL-NIR-07, populations feed each other in a loop that several of
            them enter, of which NIR does not say what closes it.
    """
    ways = list(ways)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from((w.source, w.target) for w in ways if w.source != w.target)
    fed = {target for _, target in graph.edges}
    graph.add_edges_from((_OUTSIDE, name) for name in sorted(set(graph) - fed))
    above: Mapping[str, str] = nx.immediate_dominators(graph, _OUTSIDE) if _OUTSIDE in graph else {}

    def passes(source: str, target: str) -> bool:
        while source in above and above[source] not in (source, None):
            source = above[source]
            if source == target:
                return True
        return False

    back = {w.name for w in ways if w.source == w.target or passes(w.source, w.target)}
    graph.remove_edges_from([(w.source, w.target) for w in ways if w.name in back])
    loop = next((c for c in nx.strongly_connected_components(graph) if len(c) > 1), None)
    if loop is not None:
        raise _changed(
            min(loop),
            f"the populations {', '.join(sorted(loop))} feed each other, and NIR does not say "
            "which of the ways takes a step",
            "join them into one population that feeds itself through one matrix",
        )
    return frozenset(back)


def lags(projections: Iterable[Projection], late: frozenset[str] = frozenset()) -> dict[str, int]:
    """How many steps each population of a network runs behind its image in NIR.

    It is the shortest way from the input, axonal delays not counted: those become delays in NIR,
    and so does what another way takes longer.

    Args:
        projections: of the network.
        late: populations that answer one step later in NIR (CubaLIF on the previous current).

    Raises:
        UnsupportedModelError: ADL-NIR-07, as :func:`leading_back`.
    """
    ways = ways_of(projections)
    return _along(ways, leading_back(ways), min, lambda way: way.steps - (way.target in late))


def lags_of_ways(ways: list[Way], late: frozenset[str]) -> dict[str, int]:
    """The lags with which a network can do what a NIR graph says: the longest way from the input.

    What another way takes less becomes axonal delays. In a loop, delays of the graph make up for
    steps that the chip takes.

    Args:
        ways: with their delays in NIR.
        late: populations that answer one step later in NIR (CubaLIF on the previous current).

    Raises:
        UnsupportedModelError: ADL-NIR-07, the chip takes longer for a loop, or as
            :func:`leading_back`.
    """
    back = leading_back(ways)
    whole: nx.DiGraph[str] = nx.DiGraph()
    whole.add_edges_from((w.source, w.target) for w in ways)
    loop_of = {
        name: number
        for number, loop in enumerate(nx.strongly_connected_components(whole))
        for name in loop
    }

    def added(way: Way) -> int:
        inside = loop_of[way.source] == loop_of[way.target]
        return way.steps - (way.target in late) - inside * way.delay

    return _along(ways, back, max, added)


def missing_steps(ways: list[Way], lag: Mapping[str, int], late: frozenset[str]) -> dict[str, int]:
    """By way, the axonal delay that it needs besides its delay in NIR; negative if impossible."""
    back = leading_back(ways)
    return {
        w.name: lag[w.target] + (w.target in late) + (w.name in back) - lag[w.source] - w.steps
        for w in ways
    }


def delays_in_nir(projections: Iterable[Projection]) -> dict[str, int]:
    """By projection, what a NIR image must delay it by besides its own axonal delays."""
    ways = ways_of(projections)
    lag = lags(projections)
    return {name: -steps for name, steps in missing_steps(ways, lag, frozenset()).items()}


def check_delays(ways: list[Way], missing: Mapping[str, int]) -> None:
    """No way would have to be faster than the chip.

    Raises:
        UnsupportedModelError: ADL-NIR-07.
    """
    for way in ways:
        short = -missing[way.name] - way.delay
        if short > 0:
            raise _changed(
                way.name,
                f"feeds {way.target!r} back {short} steps later on the chip than in NIR",
                f"let the loop take longer, by a Delay of {short} steps, or join its populations "
                "into one that feeds itself through one matrix",
            )


def _along(
    ways: Iterable[Way],
    back: frozenset[str],
    choose: Callable[[list[int]], int],
    added: Callable[[Way], int],
) -> dict[str, int]:
    """Lags, population by population, along the ways that do not lead back."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    into: dict[str, list[Way]] = {}
    for way in ways:
        graph.add_nodes_from((way.source, way.target))
        if way.name not in back:
            graph.add_edge(way.source, way.target)
            into.setdefault(way.target, []).append(way)
    found: dict[str, int] = {}
    for name in nx.topological_sort(graph):
        found[name] = choose([found[w.source] + added(w) for w in into.get(name, [])] or [0])
    return found


def _changed(where: str, message: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError(message, where=where, remedy=remedy, code="ADL-NIR-07")
