"""One picture of a run: energy per core, load per link, spikes over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mapping.artifact.atomic import atomic_file
from mapping.artifact.schema import Artifact
from mapping.ir.placed import slot_at
from mapping.targets.spec import MeshSpec
from mapping.units import si_prefix, with_prefix
from simulators.energy.estimate import EnergyReport
from simulators.plots.mesh import cell_side, core_corner, link_line
from simulators.trace import ExecutionTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE = 0.62


def draw_overview(
    artifact: Artifact, trace: ExecutionTrace, energy: EnergyReport, path: Path, *, sample: int = 0
) -> None:
    """Write the picture as a PNG.

    Args:
        artifact: the compiled program.
        trace: a run of it with counts; energy: its estimate.
        path: the PNG file.
        sample: whose spikes to show.

    Raises:
        ArtifactError: ADL-ART-01, the file cannot be written.
    """
    figure = Figure(figsize=(14, 5.4), layout="constrained", dpi=110)
    chip_axes, raster_axes = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_chip(chip_axes, artifact, trace, energy)
    _draw_raster(raster_axes, artifact, trace, sample)
    accuracy = trace.accuracy()
    low, high = (with_prefix(end, "J", digits=2) for end in energy.interval_j())
    figure.suptitle(
        f"{artifact.partitioned.name} on {artifact.chip.name}: {energy.cores} of "
        f"{artifact.chip.cores} cores, {with_prefix(energy.total_j, 'J')} ({low} … {high}) and "
        f"{with_prefix(energy.latency_s, 's')} per inference ({energy.status})"
        + (f", accuracy {accuracy:.1%}" if accuracy is not None else "")
    )
    with atomic_file(path) as work:
        figure.savefig(work, format="png")


def _draw_chip(axes: Axes, artifact: Artifact, trace: ExecutionTrace, energy: EnergyReport) -> None:
    mesh = artifact.chip.mesh
    per_core = energy.core_j()
    factor, prefix = si_prefix(float(per_core.max()))
    per_core = per_core / factor
    colours = ScalarMappable(Normalize(0, float(per_core.max())), "YlOrRd")
    cell = cell_side(mesh, _TILE)
    all_cores = [
        Rectangle(core_corner(slot_at(number, mesh), mesh, _TILE), cell * 0.94, cell * 0.94)
        for number in range(mesh.width * mesh.height * mesh.cores_per_tile)
    ]
    axes.add_collection(PatchCollection(all_cores, facecolor="#e9ebee", edgecolor="#c6cad0"))
    for number, slot in enumerate(artifact.placement.slots):
        corner = core_corner(slot, mesh, _TILE)
        colour = colours.to_rgba(per_core[number])
        axes.add_patch(
            Rectangle(corner, cell * 0.94, cell * 0.94, facecolor=colour, edgecolor="#333333")
        )
        axes.text(
            corner[0] + cell * 0.47,
            corner[1] + cell * 0.47,
            str(number),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if per_core[number] > 0.6 * per_core.max() else "black",
        )
    _draw_links(axes, trace, mesh)
    host_x, host_y = mesh.host_tile
    axes.annotate(
        "host",
        (host_x - 0.36, host_y),
        (host_x - 0.62, host_y),
        rotation=90,
        fontsize=8,
        va="center",
        ha="center",
        arrowprops={"arrowstyle": "->"},
    )
    axes.set(
        xlim=(-0.8, mesh.width - 0.45),
        ylim=(mesh.height - 0.45, -0.55),
        aspect="equal",
        xticks=range(mesh.width),
        yticks=range(mesh.height),
        xlabel="tile x",
        ylabel="tile y",
        title="Energy per core and load per link",
    )
    axes.figure.colorbar(
        colours,
        ax=axes,
        location="bottom",
        shrink=0.8,
        aspect=40,
        label=f"energy per inference, dynamic and static share [{prefix}J]",
    )


def _draw_links(axes: Axes, trace: ExecutionTrace, mesh: MeshSpec) -> None:
    if trace.link_packets is None or not trace.link_packets.any():
        return
    loads = trace.link_packets / (trace.samples * trace.steps)
    used = np.flatnonzero(loads)
    lines = [link_line(link, mesh, _TILE) for link in used.tolist()]
    collection = LineCollection(lines, cmap="winter_r", linewidths=5, capstyle="butt")
    collection.set_array(loads[used])
    collection.set_clim(0, float(loads.max()))
    axes.add_collection(collection)
    axes.figure.colorbar(
        collection, ax=axes, location="right", shrink=0.5, label="packets per step on a link"
    )


def _draw_raster(axes: Axes, artifact: Artifact, trace: ExecutionTrace, sample: int) -> None:
    base = 0
    ticks: list[tuple[float, str]] = []
    for number, (name, spikes) in enumerate(trace.spikes.items()):
        steps, neurons = np.nonzero(spikes[sample])
        colour = f"C{number}"
        axes.scatter(steps, neurons + base, s=9, marker="|", linewidths=1.4, color=colour)
        size = spikes.shape[2]
        ticks.append((base + (size - 1) / 2, f"{name}\n({size})"))
        base += size
        axes.axhline(base - 0.5, color="#bbbbbb", linewidth=0.8)
    label = "" if trace.labels is None else f", label {trace.labels[sample]}"
    answer = trace.predictions()[sample]
    axes.set(
        xlim=(-0.5, trace.steps - 0.5),
        ylim=(-0.5, base - 0.5),
        xlabel=f"step (the last {artifact.partitioned.latency_steps} drain the pipeline)",
        title=f"Spikes of sample {sample}: answer {answer}{label}",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
