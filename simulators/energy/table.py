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
        f"{len(energy.step_s)} steps",
        f"Status of the constants: {energy.status}; with each within its factor the energy lies "
        f"in {low} … {high} and the latency in {early} … {late}. "
        "The host processor is not included.",
    ]
