"""Maps of the chip's mesh: a figure per core, the load of every link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from mapping.artifact.schema import Artifact
from mapping.cost import FloatArray
from mapping.ir.placed import slot_at
from mapping.ir.routed import link_ends
from mapping.targets.spec import MeshSpec
from simulators.plots.mesh import Point, cell_side, core_corner, link_line
from simulators.report.svg import FAINT, INK, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RGBAColorType

HOST = SERIES[3]
_TILE = 0.86
_SMALL_TILE = 0.56
_FAINTEST, _STRONGEST = 0.14, 0.8


def strength(share: float) -> float:
    """Opacity that stands for ``share`` of 1; ink stays readable on the strongest."""
    return _FAINTEST + (_STRONGEST - _FAINTEST) * share


def shade(share: float, colour: str) -> RGBAColorType:
    """``colour`` as strong as ``share`` of 1 says."""
    return to_rgba(colour, strength(share))


def core_map(
    key: str,
    alt: str,
    artifact: Artifact,
    values: FloatArray,
    *,
    colour: str,
    unit: str,
    dark: frozenset[int] = frozenset(),
) -> Markup:
    """Every core of the chip, the used ones numbered and shaded by their value.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        artifact: the compiled program.
        values: ``(cores,)`` of the used cores.
        colour: of the largest value; unit: of the values, for the scale.
        dark: cores to mark in a corner.
    """
    mesh = artifact.chip.mesh
    largest = float(values.max(initial=0.0)) or 1.0

    def paint(figure: Figure) -> None:
        axes, scale = figure.subplots(2, 1, height_ratios=(_map_height(mesh), 9))
        _frame(axes, mesh)
        side = cell_side(mesh, _TILE) * 0.9
        slots = artifact.placement.slots
        used = set(slots)
        every = (slot_at(n, mesh) for n in range(mesh.width * mesh.height * mesh.cores_per_tile))
        unused = [core_corner(slot, mesh, _TILE) for slot in every if slot not in used]
        squares(axes, unused, side, facecolors="none", edgecolors=FAINT, linewidths=0.7)
        corners = [core_corner(slot, mesh, _TILE) for slot in slots]
        shades = [shade(float(value) / largest, colour) for value in values]
        squares(axes, corners, side, facecolors=shades, edgecolors=INK, linewidths=0.9)
        for number, (x, y) in enumerate(corners):
            if number in dark:
                mark = [(x + side * 0.6, y), (x + side, y), (x + side, y + side * 0.4)]
                axes.add_artist(Polygon(mark, facecolor=INK, edgecolor="none"))
            axes.text(
                x + side / 2,
                y + side * 0.54,
                str(number),
                ha="center",
                va="center",
                fontsize=_number_size(mesh, len(slots)),
            )
        draw_scale(scale, largest, colour, unit)

    return draw(key, alt, _map_height(mesh) + 94, paint)


def link_map(key: str, alt: str, artifact: Artifact, loads: FloatArray, *, unit: str) -> Markup:
    """Every link that carries packets, as wide and as strong as its load.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        artifact: the compiled program.
        loads: ``(links,)``; unit: of the loads, for the scale.
    """
    mesh = artifact.chip.mesh
    largest = float(loads.max(initial=0.0)) or 1.0

    def paint(figure: Figure) -> None:
        axes, scale = figure.subplots(2, 1, height_ratios=(_map_height(mesh), 9))
        _frame(axes, mesh)
        used = {(slot.x, slot.y) for slot in artifact.placement.slots}
        tiles = [(x, y) for y in range(mesh.height) for x in range(mesh.width)]
        squares(
            axes,
            [(x - _SMALL_TILE / 2, y - _SMALL_TILE / 2) for x, y in tiles],
            _SMALL_TILE,
            facecolors="none",
            edgecolors=[INK if tile in used else FAINT for tile in tiles],
            linewidths=0.8,
        )
        for link in np.flatnonzero(loads).tolist():
            share = float(loads[link]) / largest
            start, end = link_line(link, mesh, _SMALL_TILE)
            axes.annotate(
                "",
                end,
                start,
                arrowprops={
                    "arrowstyle": "-|>,head_length=0.28,head_width=0.16",
                    "color": shade(share, SERIES[0]),
                    "linewidth": 1.0 + 3.0 * share,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
        draw_scale(scale, largest, SERIES[0], unit)

    return draw(key, alt, _map_height(mesh) + 94, paint)


def link_name(link: int, mesh: MeshSpec) -> tuple[str, str]:
    """The tiles that a link leads from and to, as ``x,y``."""
    (x0, y0), (x1, y1) = link_ends(link, mesh)
    return f"{x0},{y0}", f"{x1},{y1}"


def squares(axes: Axes, corners: Sequence[Point], side: float, **style: Any) -> None:
    """Squares with these upper left corners."""
    patches = [Rectangle(corner, side, side) for corner in corners]
    axes.add_collection(PatchCollection(patches, **style))


def draw_scale(axes: Axes, largest: float, colour: str, unit: str) -> None:
    """What the shades mean, from zero to ``largest``."""
    steps = 40
    patches = [Rectangle((n / steps * largest, 0), largest / steps, 1) for n in range(steps)]
    shades = [shade((n + 0.5) / steps, colour) for n in range(steps)]
    axes.add_collection(PatchCollection(patches, facecolors=shades, edgecolors="none"))
    axes.set(xlim=(0, largest), ylim=(0, 1), yticks=[], xlabel=unit)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _map_height(mesh: MeshSpec) -> float:
    """Height that keeps tiles square, in the units of a figure's width."""
    return (WIDTH - 38) * mesh.height / mesh.width


def _number_size(mesh: MeshSpec, cores: int) -> float:
    """Font size with which the largest number of ``cores`` fits its square."""
    square = (WIDTH - 38) / mesh.width * cell_side(mesh, _TILE)
    return min(10.0, square / (0.68 * max(2, len(str(cores - 1)))))


def _frame(axes: Axes, mesh: MeshSpec) -> None:
    x, y = mesh.host_tile
    axes.add_artist(
        Rectangle(
            (x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor=HOST, linewidth=2, linestyle=":"
        )
    )
    axes.set(
        xlim=(-0.53, mesh.width - 0.47),
        ylim=(mesh.height - 0.47, -0.53),
        aspect="equal",
        xticks=range(mesh.width),
        yticks=range(mesh.height),
        xlabel="tile x",
        ylabel="tile y",
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
