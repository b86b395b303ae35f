"""Maps of the chip's mesh: a figure per core, the load of every link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib import rcParams
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from mapping.artifact.schema import Artifact
from mapping.cost import FloatArray
from mapping.ir.routed import link_ends
from mapping.targets.spec import MeshSpec
from simulators.plots.mesh import Point, View, number_tiles
from simulators.report.svg import FAINT, INK, MUTED, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RGBAColorType

HOST = SERIES[3]
_TILE = 0.86
_SMALL_TILE = 0.56
_MAP_WIDTH = WIDTH - 38
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
    view = View.around(artifact.placement, artifact.chip.mesh)
    largest = float(values.max(initial=0.0)) or 1.0

    def paint(figure: Figure) -> None:
        axes, scale = figure.subplots(2, 1, height_ratios=(_map_height(view), 9))
        _frame(axes, view)
        side = view.core_side(_TILE) * 0.9
        slots = artifact.placement.slots
        used = set(slots)
        number_size = min(10.0, view.number_size(_MAP_WIDTH, _TILE, len(slots)))
        fine = view.fineness(_MAP_WIDTH)
        unused = [view.core_corner(slot, _TILE) for slot in view.cores() if slot not in used]
        squares(axes, unused, side, facecolors="none", edgecolors=FAINT, linewidths=0.7 * fine)
        corners = [view.core_corner(slot, _TILE) for slot in slots]
        shades = [shade(float(value) / largest, colour) for value in values]
        squares(axes, corners, side, facecolors=shades, edgecolors=INK, linewidths=0.9 * fine)
        for number, (x, y) in enumerate(corners):
            if number in dark:
                mark = [(x + side * 0.6, y), (x + side, y), (x + side, y + side * 0.4)]
                axes.add_artist(Polygon(mark, facecolor=INK, edgecolor="none"))
            if number_size:
                axes.text(
                    x + side / 2,
                    y + side * 0.54,
                    str(number),
                    ha="center",
                    va="center",
                    fontsize=number_size,
                )
        draw_scale(scale, largest, colour, unit)

    return draw(key, alt, _map_height(view) + 94, paint)


def link_map(key: str, alt: str, artifact: Artifact, loads: FloatArray, *, unit: str) -> Markup:
    """Every link that carries packets, as wide and as strong as its load.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        artifact: the compiled program.
        loads: ``(links,)``; unit: of the loads, for the scale.
    """
    view = View.around(artifact.placement, artifact.chip.mesh)
    largest = float(loads.max(initial=0.0)) or 1.0

    def paint(figure: Figure) -> None:
        axes, scale = figure.subplots(2, 1, height_ratios=(_map_height(view), 9))
        _frame(axes, view)
        used = {slot.tile(view.mesh) for slot in artifact.placement.slots}
        tiles = view.tiles()
        fine = view.fineness(_MAP_WIDTH)
        centres = [view.centre(*tile) for tile in tiles]
        squares(
            axes,
            [(x - _SMALL_TILE / 2, y - _SMALL_TILE / 2) for x, y in centres],
            _SMALL_TILE,
            facecolors="none",
            edgecolors=[INK if tile in used else FAINT for tile in tiles],
            linewidths=0.8 * fine,
        )
        for link in np.flatnonzero(loads).tolist():
            share = float(loads[link]) / largest
            start, end = view.link_line(link, _SMALL_TILE)
            axes.annotate(
                "",
                end,
                start,
                size=rcParams["font.size"] * fine,
                arrowprops={
                    "arrowstyle": "-|>,head_length=0.28,head_width=0.16",
                    "color": shade(share, SERIES[0]),
                    "linewidth": (1.0 + 3.0 * share) * fine,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
        draw_scale(scale, largest, SERIES[0], unit)

    return draw(key, alt, _map_height(view) + 94, paint)


def link_name(link: int, mesh: MeshSpec) -> tuple[str, str]:
    """Names of the tiles that a link leads from and to."""
    start, end = link_ends(link, mesh)
    return mesh.tile_name(*mesh.on_chip(*start)), mesh.tile_name(*mesh.on_chip(*end))


def left_out(artifact: Artifact) -> str:
    """What a caption says of chips that the maps do not show."""
    mesh = artifact.chip.mesh
    if View.around(artifact.placement, mesh).whole:
        return ""
    return f" Of {mesh.chip_count:,} chips those in use, the host's and those between are shown."


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


def _map_height(view: View) -> float:
    """Height that keeps tiles square, in the units of a figure's width."""
    return _MAP_WIDTH * view.size[1] / view.size[0]


def _frame(axes: Axes, view: View) -> None:
    mesh = view.mesh
    name_size = min(9.0, 0.75 * _MAP_WIDTH / view.size[0])
    for chip in view.chips() if view.several else ():
        x, y = view.chip_corner(chip)
        outline = Rectangle((x, y), mesh.width, mesh.height, facecolor="none", edgecolor=MUTED)
        axes.add_artist(outline)
        axes.text(x, y - 0.08, f"chip {chip}", va="bottom", fontsize=name_size)
    x, y = view.centre(*mesh.host_tile)
    axes.add_artist(
        Rectangle(
            (x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor=HOST, linewidth=2, linestyle=":"
        )
    )
    bottom = view.bottom + 0.53
    axes.set(
        xlim=(-0.53, view.size[0] - 0.47),
        ylim=(bottom, bottom - view.size[1] - 0.06),
        aspect="equal",
        xlabel="tile x",
        ylabel="tile y",
    )
    axes.tick_params(length=0)
    number_tiles(axes, view, _MAP_WIDTH)
    for spine in axes.spines.values():
        spine.set_visible(False)
