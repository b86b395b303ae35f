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

    def on_mesh(self, mesh: MeshSpec) -> bool:
        """Whether the chip and the tile exist."""
        on_chip = 0 <= self.x < mesh.width and 0 <= self.y < mesh.height
        return on_chip and 0 <= self.chip < mesh.chip_count

    def tile(self, mesh: MeshSpec) -> tuple[int, int]:
        """Column and row of the tile, over all chips."""
        return mesh.tile(self.chip, self.x, self.y)


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

    def used_chips(self) -> int:
        """Number of chips with at least one core program."""
        return len({slot.chip for slot in self.slots})


def slot_at(number: int, mesh: MeshSpec) -> CoreSlot:
    """The ``number``-th usable core in raster order: along a tile, x, y, then chip by chip."""
    chip, number = divmod(number, mesh.usable_cores.value)
    tile, core = divmod(number, mesh.cores_per_tile)
    y, x = divmod(tile, mesh.width)
    return CoreSlot(chip=chip, x=x, y=y, core=core)
