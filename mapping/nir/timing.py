"""NIR projections take no time, ours one step or two: where that changes what a network does."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Projection


def lags(projections: Iterable[Projection], late: frozenset[str] = frozenset()) -> dict[str, int]:
    """How many steps each population runs behind its image in NIR.

    A network and its NIR image fire the same spikes, shifted by one lag per population, if all
    ways into a population add the same lag. A projection from a population to itself takes one
    step in NIR, too.

    Args:
        projections: of the network.
        late: populations that answer one step later in NIR (CubaLIF on the previous current).

    Raises:
        UnsupportedModelError: ADL-NIR-07, the ways into a population differ, or populations feed
            each other in a loop, of which NIR does not say what takes a step.
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for projection in projections:
        added = projection.delay - (projection.target in late)
        if projection.source != projection.target:
            graph.add_edge(projection.source, projection.target, way=projection.name, lag=added)
        elif added != 1:
            raise _changed(
                projection.name,
                f"feeds {projection.target!r} back to itself after {projection.delay} steps on the "
                f"chip, after {projection.delay - added + 1} in NIR",
                "use one full matrix in a loop of LIF neurons, or of CubaLIF with cuba_order new",
            )
    loop = next((c for c in nx.strongly_connected_components(graph) if len(c) > 1), None)
    if loop is not None:
        raise _changed(
            min(loop),
            f"the populations {', '.join(sorted(loop))} feed each other, and NIR does not say "
            "which of the ways takes a step",
            "join them into one population that feeds itself through one matrix",
        )
    found: dict[str, int] = {}
    for target in nx.topological_sort(graph):
        for source, _, edge in graph.in_edges(target, data=True):
            lag = found[source] + edge["lag"]
            if found.setdefault(target, lag) != lag:
                raise _changed(
                    edge["way"],
                    f"reaches {target!r} {lag} steps later than in NIR, another way "
                    f"{found[target]}, because NIR projections take no time",
                    "give all ways to a population equally many layers; a factor pair counts as "
                    "two",
                )
        found.setdefault(target, 0)
    return found


def _changed(where: str, message: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError(message, where=where, remedy=remedy, code="ADL-NIR-07")
