"""Counted actions and the one formula that turns them into energy: counts × table.

An action belongs to the core on which it happens; what the network on chip does for a packet (hops,
injection by the host) belongs to the core that receives the packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.targets.spec import ChipSpec, EnergyTable

CountArray = npt.NDArray[np.integer[Any]] | npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float64]

SYNAPTIC_OPS = {
    "dense": "synaptic_op_dense",
    "sparse": "synaptic_op_sparse",
    "conv": "synaptic_op_conv",
}
"""The action that reading a synapse is, by the form in which its projection is stored."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActionCounts:
    """What happened; every array is ``(samples, steps, cores)``.

    Attributes:
        synaptic_op_dense, synaptic_op_sparse, synaptic_op_conv: synapses read and added, all rows
            of every tile that a packet reaches, by the form in which they are stored.
        synapse_read: words of synapse memory read for them.
        compartment_access: compartments visited, every mapped one in every step.
        compartment_update: compartments whose state was computed: those that a spike reached, that
            have a bias or send something, LIF ones with a voltage or a current that lasts longer
            than a step, and gates with a gain or a trace.
        spike: spikes sent, graded ones included.
        axon_out: packets sent, one per spike and receiving core.
        axon_in: packets received, from cores and from the host.
        within_tile: received packets that crossed no link and came from a core.
        hop_east_west, hop_north_south: links within a chip crossed by received packets.
        hop_chip: links between chips crossed by received packets.
        host_packet: received packets that the host injected.
    """

    synaptic_op_dense: CountArray
    synaptic_op_sparse: CountArray
    synaptic_op_conv: CountArray
    synapse_read: CountArray
    compartment_access: CountArray
    compartment_update: CountArray
    spike: CountArray
    axon_out: CountArray
    axon_in: CountArray
    within_tile: CountArray
    hop_east_west: CountArray
    hop_north_south: CountArray
    hop_chip: CountArray
    host_packet: CountArray

    def items(self) -> Iterator[tuple[str, CountArray]]:
        """Pairs of action name and counts."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    @property
    def synaptic_op(self) -> CountArray:
        """Synapses read and added, of all forms."""
        found: CountArray = sum(getattr(self, name) for name in SYNAPTIC_OPS.values())
        return found

    @property
    def dark(self) -> npt.NDArray[np.bool_]:
        """Where a core received nothing and updated nothing, ``(samples, steps, cores)``."""
        return np.asarray((self.axon_in == 0) & (self.compartment_update == 0))


COMPONENTS = {
    "synapse": tuple(SYNAPTIC_OPS.values()),
    "compartment_access": ("compartment_access",),
    "compartment_update": ("compartment_update",),
    "spike": ("spike",),
    "axon": ("axon_out", "axon_in"),
    "hop": ("within_tile", "hop_east_west", "hop_north_south", "hop_chip"),
    "host": ("host_packet",),
}
"""Energy components of the reports and the actions that each sums."""


def charged(counts: ActionCounts, chip: ChipSpec) -> dict[str, CountArray]:
    """Counts by action as the chip charges them: idle cores skip their accesses if it can."""
    found = dict(counts.items())
    if chip.capabilities.skip_idle_cores.value:
        found["compartment_access"] = np.where(counts.dark, 0, found["compartment_access"])
    return found


def dynamic_energy_j(counts: ActionCounts, chip: ChipSpec) -> dict[str, FloatArray]:
    """Energy by component, ``(samples, steps, cores)`` each [J]."""
    found = charged(counts, chip)
    return {
        component: weighted(found, {name: _joule(chip.energy_j, name) for name in actions})
        for component, actions in COMPONENTS.items()
    }


def static_power_w(chip: ChipSpec, cores: int) -> float:
    """Share of the chips' static power that falls to ``cores`` of their cores [W]."""
    return chip.static_power_w.value * cores / chip.mesh.usable_cores.value


def weighted(counts: Mapping[str, CountArray], weights: Mapping[str, float]) -> FloatArray:
    """Sum of the counts of some actions, each times its weight."""
    total = np.zeros(counts[next(iter(weights))].shape)
    for name, weight in weights.items():
        total += counts[name] * weight
    return total


def _joule(table: EnergyTable, action: str) -> float:
    return float(getattr(table, action).value)
