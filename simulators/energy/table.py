"""The energy report for the console."""

from __future__ import annotations

from math import floor

from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.units import with_prefix
from simulators.energy.estimate import EnergyReport


def core_table(artifact: Artifact, energy: EnergyReport) -> Table:
    """One row per core: where it is and what it costs per inference."""
    headings = [name.removeprefix("compartment_") for name in energy.core_step_j]
    table = Table(
        "core",
        "tile",
        "dark",
        "static",
        *headings,
        "total",
        title="Energy per inference and core, in nJ, and share of steps without any action",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    totals, mesh = energy.core_j(), artifact.chip.mesh
    for core, slot in enumerate(artifact.placement.slots):
        table.add_row(
            str(core),
            mesh.tile_name(slot.chip, slot.x, slot.y),
            f"{floor(100 * energy.core_dark_share[core])}%",
            f"{energy.static_core_j * 1e9:.1f}",
            *(f"{e[:, core].sum() * 1e9:.1f}" for e in energy.core_step_j.values()),
            f"{totals[core] * 1e9:.1f}",
        )
    return table


def component_table(energy: EnergyReport) -> Table:
    """One row per component: what it costs, between which bounds, and how well that is known."""
    table = Table(
        "component",
        "energy",
        "between",
        "and",
        "constants",
        title="Energy per inference by component",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for column in table.columns[1:4]:
        column.justify = "right"
    intervals, statuses = energy.intervals_j(), energy.statuses()
    own = {"static": energy.static_j, **energy.component_j()}
    for name, value in own.items():
        ends = (with_prefix(end, "J", digits=2) for end in intervals[name])
        table.add_row(name.replace("_", " "), with_prefix(value, "J"), *ends, statuses[name])
    return table


def energy_lines(energy: EnergyReport) -> list[str]:
    """The totals, in sentences."""
    cores = "1 core" if energy.cores == 1 else f"{energy.cores} cores"
    chips = "whole-chip static" if energy.chips == 1 else f"static of the {energy.chips} chips"
    low, high = (with_prefix(energy_j, "J", digits=2) for energy_j in energy.interval_j())
    early, late = (with_prefix(latency_s, "s", digits=2) for latency_s in energy.interval_s())
    return [
        f"Energy per inference: {with_prefix(energy.total_j, 'J')} "
        f"({with_prefix(energy.dynamic_j, 'J')} dynamic + {with_prefix(energy.static_j, 'J')} "
        f"static on {cores}); {chips} {with_prefix(energy.static_chip_j, 'J')}",
        f"Latency per inference: {with_prefix(energy.latency_s, 's')} in "
        f"{len(energy.step_s)} steps by the model {energy.latency_model}",
        f"Status of the constants: {energy.status}; with each within its factor the energy lies "
        f"in {low} … {high} and the latency in {early} … {late}. "
        "The host processor is not included.",
        *energy_notes(energy),
    ]


def energy_notes(energy: EnergyReport) -> list[str]:
    """What stands beside the totals: a measured sum, if there is one, and dark cores, if any."""
    lines = []
    check, table = energy.cross_check_j(), energy.chip.cross_check
    if check is not None and table is not None:
        each = table.dynamic_per_synaptic_op_j
        lines.append(
            f"Cross-check: {with_prefix(each.value, 'J')} ({each.status}) for all that a synaptic "
            f"operation brings about make {with_prefix(check, 'J')} of {energy.synaptic_ops:,.0f} "
            f"operations; the components add up to {with_prefix(energy.dynamic_j, 'J')}"
        )
    if energy.core_dark_access.any():
        accesses, static = (
            with_prefix(energy_j, "J") for energy_j in (energy.dark_access_j, energy.dark_static_j)
        )
        skipped = energy.chip.capabilities.skip_idle_cores.value
        lines.append(
            f"Dark cores: {accesses} for accesses, which "
            f"{'the chip skips' if skipped else 'a chip that skips idle cores would spare'}; "
            f"{static} of the static energy fall to them"
        )
    return lines
