"""Where the parts of a mesh lie in a drawing: one unit from tile to tile, y downwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mapping.ir.placed import CoreSlot, Placement
from mapping.ir.routed import DIRECTIONS, link_ends
from mapping.targets.spec import MeshSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]

_ASIDE = 0.06
_GAP = 0.9
_COARSE_TILE, _NUMBERED_TILE, _LEGIBLE = 39.0, 12.0, 2.0
"""Points: tiles for full lines, tiles for numbers at the axes, numbers in squares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The chips that a drawing shows, a rectangle of them, with a gap from chip to chip.

    Attributes:
        mesh: of all chips.
        chips_x, chips_y: columns and rows of chips that are shown.
    """

    mesh: MeshSpec
    chips_x: range
    chips_y: range

    @classmethod
    def around(cls, placement: Placement, mesh: MeshSpec) -> View:
        """The chips in use and the host's, and those between: all that packets can pass."""
        chips = {0} | {slot.chip for slot in placement.slots}
        xs, ys = zip(*(divmod(chip, mesh.chips.value[0])[::-1] for chip in chips), strict=True)
        return cls(
            mesh=mesh,
            chips_x=range(min(xs), max(xs) + 1),
            chips_y=range(min(ys), max(ys) + 1),
        )

    @property
    def several(self) -> bool:
        """Whether more than one chip is shown."""
        return len(self.chips_x) * len(self.chips_y) > 1

    @property
    def whole(self) -> bool:
        """Whether no chip is left out."""
        return len(self.chips_x) * len(self.chips_y) == self.mesh.chip_count

    @property
    def size(self) -> Point:
        """Width and height of what is shown, names of chips included."""
        width = _extent(len(self.chips_x), self.mesh.width)
        return width, _extent(len(self.chips_y), self.mesh.height) + _GAP * self.several

    def chips(self) -> list[int]:
        """Numbers of the chips shown."""
        return [y * self.mesh.chips.value[0] + x for y in self.chips_y for x in self.chips_x]

    def tiles(self) -> list[tuple[int, int]]:
        """Column and row of every tile shown."""
        mesh = self.mesh
        return [
            mesh.tile(chip, x, y)
            for chip in self.chips()
            for y in range(mesh.height)
            for x in range(mesh.width)
        ]

    def cores(self) -> Iterator[CoreSlot]:
        """Every core shown, those that no program may use included."""
        for tile in self.tiles():
            chip, x, y = self.mesh.on_chip(*tile)
            for core in range(self.mesh.cores_per_tile):
                yield CoreSlot(chip=chip, x=x, y=y, core=core)

    def centre(self, column: int, row: int) -> Point:
        """Where the middle of a tile lies."""
        chip_x, chip_y = column // self.mesh.width, row // self.mesh.height
        return (
            column - self.chips_x.start * self.mesh.width + _GAP * (chip_x - self.chips_x.start),
            row - self.chips_y.start * self.mesh.height + _GAP * (chip_y - self.chips_y.start),
        )

    @property
    def bottom(self) -> float:
        """The y of the lowest row of tiles."""
        return _extent(len(self.chips_y), self.mesh.height) - 1

    def chip_corner(self, chip: int) -> Point:
        """The upper left corner of a chip, half a tile from the middle of its first tile."""
        x, y = self.centre(*self.mesh.tile(chip, 0, 0))
        return x - 0.5, y - 0.5

    def core_side(self, tile: float) -> float:
        """Side of the square that a core takes in a tile of side ``tile``."""
        return tile / int(np.ceil(np.sqrt(self.mesh.cores_per_tile)))

    def core_corner(self, slot: CoreSlot, tile: float) -> Point:
        """The upper left corner of a core's square in a tile of side ``tile``."""
        row, column = divmod(slot.core, int(np.ceil(np.sqrt(self.mesh.cores_per_tile))))
        side = self.core_side(tile)
        x, y = self.centre(*slot.tile(self.mesh))
        return x - tile / 2 + column * side, y - tile / 2 + row * side

    def link_line(self, link: int, tile: float) -> tuple[Point, Point]:
        """Both ends of a link in the gap between two tiles; opposite links lie side by side."""
        (x0, y0), (x1, y1) = (self.centre(*end) for end in link_ends(link, self.mesh))
        dx, dy = DIRECTIONS[link % 4]
        shift_x, shift_y = -dy * _ASIDE, dx * _ASIDE
        return (
            (x0 + dx * tile / 2 + shift_x, y0 + dy * tile / 2 + shift_y),
            (x1 - dx * tile / 2 + shift_x, y1 - dy * tile / 2 + shift_y),
        )

    def number_size(self, width: float, tile: float, cores: int) -> float:
        """Font size with which the largest number of ``cores`` fits its square; 0 if illegible.

        Args:
            width: of the drawing, in points.
            tile: side of a tile's square.
            cores: number of cores that are numbered.
        """
        square = width / self.size[0] * self.core_side(tile)
        size = square / (0.68 * max(2, len(str(cores - 1))))
        return size if size >= _LEGIBLE else 0.0

    def fineness(self, width: float) -> float:
        """Factor up to 1 for lines, so that they suit the tiles of a drawing this wide [points]."""
        return min(1.0, width / self.size[0] / _COARSE_TILE)

    def numbered(self, width: float) -> bool:
        """Whether tiles are wide enough for a number at each in a drawing this wide [points]."""
        return width / self.size[0] >= _NUMBERED_TILE


def _extent(chips: int, tiles: int) -> float:
    return chips * tiles + (chips - 1) * _GAP


def number_tiles(axes: Axes, view: View, width: float) -> None:
    """Number the tiles of each chip along both axes of a drawing ``width`` points wide.

    Numbers that would run into one another are left out.
    """
    mesh, shown = view.mesh, view.tiles() if view.numbered(width) else []
    x_at = {view.centre(column, row)[0]: str(column % mesh.width) for column, row in shown}
    y_at = {view.centre(column, row)[1]: str(row % mesh.height) for column, row in shown}
    axes.set_xticks(list(x_at), list(x_at.values()))
    axes.set_yticks(list(y_at), list(y_at.values()))
