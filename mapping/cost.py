"""Counted actions and the one formula that turns them into energy: counts × table.

An action belongs to the core on which it happens; what the network on chip does for a packet (hops,
injection by the host) belongs to the core that receives the packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.targets.spec import ChipSpec, EnergyTable, LatencyTable

CountArray = npt.NDArray[np.integer[Any]] | npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActionCounts:
    """What happened; every array is ``(samples, steps, cores)``.

    Attributes:
        synaptic_op: synapses read and added, all rows of every tile that a packet reaches.
        compartment_access: compartments visited, every mapped one in every step.
        compartment_update: compartments whose state was computed: those with non-zero input or,
            for LIF, non-zero u, v or bias.
        spike: spikes sent, graded ones included.
        axon_out: packets sent, one per spike and receiving core.
        axon_in: packets received, from cores and from the host.
        within_tile: received packets that crossed no link and came from a core.
        hop_east_west, hop_north_south: links within a chip crossed by received packets.
        hop_chip: links between chips crossed by received packets.
        host_packet: received packets that the host injected.
    """

    synaptic_op: CountArray
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
    def idle(self) -> npt.NDArray[np.bool_]:
        """Where a core received nothing and updated nothing, ``(samples, steps, cores)``."""
        return np.asarray((self.axon_in == 0) & (self.compartment_update == 0))


COMPONENTS = {
    "synapse": ("synaptic_op",),
    "compartment_access": ("compartment_access",),
    "compartment_update": ("compartment_update",),
    "spike": ("spike",),
    "axon": ("axon_out", "axon_in"),
    "hop": ("within_tile", "hop_east_west", "hop_north_south", "hop_chip"),
    "host": ("host_packet",),
}
"""Energy components of the reports and the actions that each sums."""

_NEURON_ACTIONS = ("compartment_access", "compartment_update", "spike", "axon_out")
_MESSAGE_ACTIONS = ("axon_in", "synaptic_op")


def charged(counts: ActionCounts, chip: ChipSpec) -> dict[str, CountArray]:
    """Counts by action as the chip charges them: idle cores skip their accesses if it can."""
    found = dict(counts.items())
    if chip.capabilities.skip_idle_cores.value:
        found["compartment_access"] = np.where(counts.idle, 0, found["compartment_access"])
    return found


def dynamic_energy_j(counts: ActionCounts, chip: ChipSpec) -> dict[str, FloatArray]:
    """Energy by component, ``(samples, steps, cores)`` each [J]."""
    found = charged(counts, chip)
    return {
        component: _weighted(found, actions, chip.energy_j)
        for component, actions in COMPONENTS.items()
    }


def core_time_s(counts: ActionCounts, chip: ChipSpec) -> FloatArray:
    """Time that each core needs for its part of a step, ``(samples, steps, cores)`` [s].

    Compartment work and message work overlap, so the longer of the two counts (the ``simple``
    timing model of SANA-FE, TCAD 2025).
    """
    found = charged(counts, chip)
    return np.maximum(
        _weighted(found, _NEURON_ACTIONS, chip.latency_s),
        _weighted(found, _MESSAGE_ACTIONS, chip.latency_s),
    )


def step_time_s(counts: ActionCounts, chip: ChipSpec, used_tiles: int) -> FloatArray:
    """Duration of each step, ``(samples, steps)`` [s]: the slowest core, then the barrier."""
    barrier = chip.barrier_s.duration_s(used_tiles, chip.mesh.tiles_per_chip)
    slowest_s = core_time_s(counts, chip).max(axis=2)
    return np.asarray(np.maximum(slowest_s + barrier, chip.barrier_s.shortest_step.value))


def static_power_w(chip: ChipSpec, cores: int) -> float:
    """Share of the chips' static power that falls to ``cores`` of their cores [W]."""
    return chip.static_power_w.value * cores / chip.mesh.usable_cores.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Means per sample.

    Attributes:
        dynamic_j: dynamic energy [J].
        static_j: static energy of the used cores [J].
        latency_s: duration of all steps [s].
    """

    dynamic_j: float
    static_j: float
    latency_s: float

    @property
    def energy_j(self) -> float:
        """Dynamic energy plus the static energy of the used cores [J]."""
        return self.dynamic_j + self.static_j


def totals(counts: ActionCounts, chip: ChipSpec, used_tiles: int) -> Totals:
    """Energy and latency of ``counts``, which hold one entry per used core."""
    samples, _, cores = counts.spike.shape
    dynamic = sum(float(energy.sum()) for energy in dynamic_energy_j(counts, chip).values())
    latency_s = float(step_time_s(counts, chip, used_tiles).sum()) / samples
    return Totals(
        dynamic_j=dynamic / samples,
        static_j=static_power_w(chip, cores) * latency_s,
        latency_s=latency_s,
    )


def bounds(counts: ActionCounts, chip: ChipSpec, used_tiles: int) -> tuple[Totals, Totals]:
    """Totals with every constant of ``chip`` at its lower and at its upper bound."""
    return (
        totals(counts, chip.at_bound(-1), used_tiles),
        totals(counts, chip.at_bound(1), used_tiles),
    )


def _weighted(
    counts: dict[str, CountArray], actions: tuple[str, ...], table: EnergyTable | LatencyTable
) -> FloatArray:
    total = np.zeros(counts[actions[0]].shape)
    for name in actions:
        total += counts[name] * float(getattr(table, name).value)
    return total
