"""Turn every factor pair into what the chip runs: V, relay compartments, U."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Dense, LowRank, Network, Population, Projection, Relay
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RealiseFactors:
    """Replace each :class:`LowRank` by a :class:`Relay` between two :class:`Dense` projections.

    Timing is unchanged: a factor pair takes two steps by definition.
    """

    def run(self, network: Network, chip: ChipSpec) -> Network:
        """The network without :class:`LowRank` projections.

        Raises:
            UnsupportedModelError: ADL-MDL-01, the chip cannot send graded spikes between cores.
        """
        populations: list[Population] = list(network.populations)
        projections: list[Projection] = []
        for projection in network.projections:
            if isinstance(projection, Dense):
                projections.append(projection)
                continue
            if not chip.capabilities.graded_spikes.value:
                raise UnsupportedModelError(
                    f"a factor pair needs graded spikes, which {chip.name} lacks",
                    where=projection.name,
                    remedy="compile for loihi2 or train the layer as a full matrix",
                    code="ADL-MDL-01",
                )
            relay, v, u = _factored(projection)
            populations.insert(populations.index(network.population(projection.target)), relay)
            projections += [v, u]
        return replace(network, populations=tuple(populations), projections=tuple(projections))


def _factored(pair: LowRank) -> tuple[Relay, Dense, Dense]:
    relay = Relay(
        name=f"{pair.name}/relay", threshold=pair.relay_threshold, block_bounds=(0, *pair.levels)
    )
    v = Dense(
        name=f"{pair.name}/V",
        layer=pair.name,
        source=pair.source,
        target=relay.name,
        weight=pair.V.T,
    )
    u = Dense(
        name=f"{pair.name}/U",
        layer=pair.name,
        source=relay.name,
        target=pair.target,
        weight=pair.U,
    )
    return relay, v, u
