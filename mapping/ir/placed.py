"""Where core programs sit on the mesh."""

from __future__ import annotations

from dataclasses import dataclass

from mapping.targets.spec import MeshSpec


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CoreSlot:
    """A physical core: tile column ``x``, tile row ``y``, number within the tile, on one chip."""

    chip: int
    y: int
    x: int
    core: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """``slots[i]`` is the physical core of core program ``i``."""

    slots: tuple[CoreSlot, ...]

    def same_tile(self, a: int, b: int) -> bool:
        """Whether core programs ``a`` and ``b`` sit on one tile; the host (-1) sits on none."""
        if min(a, b) < 0:
            return False
        one, other = self.slots[a], self.slots[b]
        return (one.chip, one.x, one.y) == (other.chip, other.x, other.y)

    def used_tiles(self) -> int:
        """Number of tiles with at least one core program."""
        return len({(slot.chip, slot.x, slot.y) for slot in self.slots})


def slot_at(number: int, mesh: MeshSpec) -> CoreSlot:
    """The ``number``-th core of a chip in raster order: along a tile, then x, then y."""
    tile, core = divmod(number, mesh.cores_per_tile)
    y, x = divmod(tile, mesh.width)
    return CoreSlot(chip=0, x=x, y=y, core=core)
