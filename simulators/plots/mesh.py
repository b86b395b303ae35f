"""Where the parts of a mesh lie in a drawing: one unit from tile to tile, y downwards."""

from __future__ import annotations

import numpy as np

from mapping.ir.placed import CoreSlot
from mapping.ir.routed import link_ends
from mapping.targets.spec import MeshSpec

Point = tuple[float, float]

_ASIDE = 0.06


def cell_side(mesh: MeshSpec, tile: float) -> float:
    """Side of the square that a core takes in a tile of side ``tile``."""
    return tile / int(np.ceil(np.sqrt(mesh.cores_per_tile)))


def core_corner(slot: CoreSlot, mesh: MeshSpec, tile: float) -> Point:
    """The upper left corner of a core's square in a tile of side ``tile``."""
    side = int(np.ceil(np.sqrt(mesh.cores_per_tile)))
    row, column = divmod(slot.core, side)
    cell = cell_side(mesh, tile)
    return slot.x - tile / 2 + column * cell, slot.y - tile / 2 + row * cell


def link_line(link: int, mesh: MeshSpec, tile: float) -> tuple[Point, Point]:
    """Both ends of a link in the gap between two tiles; opposite links lie side by side."""
    (x0, y0), (x1, y1) = link_ends(link, mesh)
    dx, dy = x1 - x0, y1 - y0
    shift_x, shift_y = -dy * _ASIDE, dx * _ASIDE
    return (
        (x0 + dx * tile / 2 + shift_x, y0 + dy * tile / 2 + shift_y),
        (x1 - dx * tile / 2 + shift_x, y1 - dy * tile / 2 + shift_y),
    )
