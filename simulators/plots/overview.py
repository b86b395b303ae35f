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
from mapping.units import si_prefix, with_prefix
from simulators.energy.estimate import EnergyReport
from simulators.plots.mesh import View, number_tiles
from simulators.trace import ExecutionTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE = 0.62
_MAP_POINTS = 504.0
"""Width of the map, about."""


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
    view = View.around(artifact.placement, artifact.chip.mesh)
    width, height = view.size
    map_inches = _MAP_POINTS / 72 * height / width
    figure = Figure(figsize=(14, max(5.4, 1.9 + map_inches)), layout="constrained", dpi=110)
    chip_axes, raster_axes = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_chips(chip_axes, view, artifact, trace, energy)
    _draw_raster(raster_axes, artifact, trace, sample)
    accuracy = trace.accuracy()
    low, high = (with_prefix(end, "J", digits=2) for end in energy.interval_j())
    figure.suptitle(
        f"{artifact.partitioned.name} on {artifact.chip.name}: {energy.cores} of "
        f"{artifact.chip.cores} cores"
        + (f" on {energy.chips} chips" if energy.chips > 1 else "")
        + f", {with_prefix(energy.total_j, 'J')} ({low} … {high}) and "
        f"{with_prefix(energy.latency_s, 's')} per inference ({energy.status})"
        + (f", accuracy {accuracy:.1%}" if accuracy is not None else "")
    )
    with atomic_file(path) as work:
        figure.savefig(work, format="png")


def _draw_chips(
    axes: Axes, view: View, artifact: Artifact, trace: ExecutionTrace, energy: EnergyReport
) -> None:
    per_core = energy.core_j()
    factor, prefix = si_prefix(float(per_core.max()))
    per_core = per_core / factor
    colours = ScalarMappable(Normalize(0, float(per_core.max())), "YlOrRd")
    cell = view.core_side(_TILE)
    number_size = min(7.0, view.number_size(_MAP_POINTS, _TILE, energy.cores))
    name_size = min(8.0, 0.75 * _MAP_POINTS / view.size[0])
    fine = view.fineness(_MAP_POINTS)
    all_cores = [
        Rectangle(view.core_corner(slot, _TILE), cell * 0.94, cell * 0.94) for slot in view.cores()
    ]
    axes.add_collection(
        PatchCollection(all_cores, facecolor="#e9ebee", edgecolor="#c6cad0", linewidth=fine)
    )
    for number, slot in enumerate(artifact.placement.slots):
        corner = view.core_corner(slot, _TILE)
        colour = colours.to_rgba(per_core[number])
        axes.add_patch(
            Rectangle(
                corner,
                cell * 0.94,
                cell * 0.94,
                facecolor=colour,
                edgecolor="#333333",
                linewidth=fine,
            )
        )
        if number_size:
            axes.text(
                corner[0] + cell * 0.47,
                corner[1] + cell * 0.47,
                str(number),
                ha="center",
                va="center",
                fontsize=number_size,
                color="white" if per_core[number] > 0.6 * per_core.max() else "black",
            )
    for chip in view.chips() if view.several else ():
        x, y = view.chip_corner(chip)
        size = view.mesh.width, view.mesh.height
        axes.add_patch(Rectangle((x, y), *size, facecolor="none", edgecolor="#8a9099"))
        axes.text(x, y - 0.1, f"chip {chip}", fontsize=name_size, va="bottom")
    _draw_links(axes, view, trace)
    host_x, host_y = view.centre(*view.mesh.host_tile)
    width, height = view.size
    bottom = view.bottom + 0.55
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
        xlim=(-0.8, width - 0.45),
        ylim=(bottom, bottom - height - 0.1),
        aspect="equal",
        xlabel="tile x",
        ylabel="tile y",
        title="Energy per core and load per link",
    )
    number_tiles(axes, view, _MAP_POINTS)
    axes.figure.colorbar(
        colours,
        ax=axes,
        location="bottom",
        shrink=0.8,
        aspect=40,
        label=f"energy per inference, dynamic and static share [{prefix}J]",
    )


def _draw_links(axes: Axes, view: View, trace: ExecutionTrace) -> None:
    if trace.link_packets is None or not trace.link_packets.any():
        return
    loads = trace.link_packets / (trace.samples * trace.steps)
    used = np.flatnonzero(loads)
    lines = [view.link_line(link, _TILE) for link in used.tolist()]
    width = 5 * view.fineness(_MAP_POINTS)
    collection = LineCollection(lines, cmap="winter_r", linewidths=width, capstyle="butt")
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
