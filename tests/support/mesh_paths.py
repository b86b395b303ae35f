"""Routes link by link, as one would draw them."""

from __future__ import annotations

from mapping.ir.routed import DIRECTIONS
from mapping.targets.spec import MeshSpec


def xy_path(source: tuple[int, int], target: tuple[int, int], mesh: MeshSpec) -> list[int]:
    """Links from tile ``source`` to tile ``target``, first along x, then along y."""
    x, y = source
    links = []
    while (x, y) != target:
        if x != target[0]:
            direction = 0 if target[0] > x else 1
        else:
            direction = 2 if target[1] > y else 3
        links.append(4 * (y * mesh.columns + x) + direction)
        x, y = x + DIRECTIONS[direction][0], y + DIRECTIONS[direction][1]
    return links
