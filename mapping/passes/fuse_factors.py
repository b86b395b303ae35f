"""Turn factor pairs into full matrices, where the chip cannot send what their relays would."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from mapping.errors import UnsupportedModelError
from mapping.ir.network import (
    Dense,
    Gate,
    Input,
    LowRank,
    Network,
    Population,
    Projection,
    Relay,
    Wiring,
)
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseFactors:
    """On a chip without graded spikes, replace each :class:`LowRank` by the product U Vᵀ.

    The product delivers one step earlier than the pair. What a population sends is the same, only
    as many steps earlier as there are pairs on the way to it; all ways to it must agree on that
    number. A bias, which acts from step 0, then has acted that much shorter when the first input
    arrives.
    """

    def run(self, network: Network, chip: ChipSpec) -> Network:
        """The network with binary spikes alone; ``network`` itself if ``chip`` sends graded ones.

        Raises:
            UnsupportedModelError: the input, a relay or a gate sends graded spikes (ADL-MDL-01); a
                pair chooses its rank at run time (ADL-MDL-03); its relays do more than pass on
                what they get (ADL-MDL-04); the delays no longer match (ADL-MDL-05).
        """
        if chip.capabilities.graded_spikes.value:
            return network
        for population in network.populations:
            _check_binary(population, chip)
        for projection in network.projections:
            if isinstance(projection, LowRank):
                _check_fixed(projection, chip)
        _check_delays(network)
        return replace(network, projections=tuple(_fused(p) for p in network.projections))


def _fused(projection: Projection) -> Wiring:
    if not isinstance(projection, LowRank):
        return projection
    return Dense(
        name=projection.name,
        source=projection.source,
        target=projection.target,
        weight=projection.U @ projection.V.T,
        fused_rank=projection.rank,
    )


def _check_binary(population: Population, chip: ChipSpec) -> None:
    match population:
        case Input(payload_min=low, payload_max=high, delta=delta):
            graded = low < 0 or high > 1 or delta
            what = f"payloads of {low}..{high}" + (" and their changes" if delta else "")
            remedy = "train with spike-coded input, coding `rate` or `latency`"
        case Relay() | Gate():
            graded = True
            what = f"what a {type(population).__name__.lower()} sends"
            remedy = "train the layer as a full matrix or a plain factor pair"
        case _:
            return
    if graded:
        raise UnsupportedModelError(
            f"{what} needs graded spikes, which {chip.name} lacks",
            where=population.name,
            remedy=f"{remedy}, or compile for loihi2",
            code="ADL-MDL-01",
        )


def _check_fixed(pair: LowRank, chip: ChipSpec) -> None:
    if pair.gate is not None or pair.level_bias.size:
        raise UnsupportedModelError(
            f"its rank is chosen at run time, but {chip.name} runs one fixed rank",
            where=pair.name,
            remedy=f"choose it now, `--rank R` with R one of {list(pair.levels)}",
            code="ADL-MDL-03",
        )
    does = {
        "sum over the steps (sigma)": pair.sigma,
        "send changes alone (delta)": pair.delta,
        "hold back what is below a threshold": bool(pair.relay_threshold.any()),
    }
    if any(does.values()):
        raise UnsupportedModelError(
            f"its relays {' and '.join(what for what, done in does.items() if done)}, which the "
            f"product of its factors on {chip.name} cannot",
            where=pair.name,
            remedy="train it with plain relays, or compile for loihi2",
            code="ADL-MDL-04",
        )


def _check_delays(network: Network) -> None:
    """Every population runs earlier by one number of steps, whichever way one comes to it."""
    leaving: dict[str, list[Projection]] = defaultdict(list)
    for projection in network.projections:
        leaving[projection.source].append(projection)
    targets = {p.target for p in network.projections}
    undriven = [p.name for p in network.populations if p.name not in targets]
    earlier: dict[str, int] = {}
    for start in (network.input.name, *undriven, *(p.name for p in network.populations)):
        if start in earlier:
            continue
        earlier[start] = 0
        open_ends = [start]
        while open_ends:
            for projection in leaving[open_ends.pop()]:
                steps = earlier[projection.source] + isinstance(projection, LowRank)
                if projection.target not in earlier:
                    open_ends.append(projection.target)
                known = earlier.setdefault(projection.target, steps)
                if known != steps:
                    raise UnsupportedModelError(
                        "fused factor pairs take a step less, but then its spikes would come "
                        f"{steps} steps earlier and others to {projection.target} {known}",
                        where=projection.name,
                        remedy="train the pairs in loops, and those beside other paths, as full "
                        "matrices, or compile for loihi2",
                        code="ADL-MDL-05",
                    )
