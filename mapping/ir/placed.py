"""Where core programs sit on the mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

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
    """``slots[i]`` is the physical core of core program ``i``.

    ``search_stopped`` tells that the placer met its time limit, so that another run may place
    otherwise; a program read from disk does not know any more.
    """

    slots: tuple[CoreSlot, ...]
    search_stopped: bool = False

    def tiles(self, mesh: MeshSpec) -> npt.NDArray[np.int32]:
        """``(cores + 1, 2)`` column and row of every core program's tile and, last, the host's."""
        tiles = [slot.tile(mesh) for slot in self.slots]
        return np.array([*tiles, mesh.host_tile], np.int32)

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


@cache
def usable_slots(mesh: MeshSpec) -> npt.NDArray[np.int32]:
    """``(cores, 4)`` chip, y, x and core of all cores that programs may use, in raster order.

    That is along a tile, x, y, then chip by chip: of each chip the first ``usable_cores`` without
    a fault.
    """
    per_chip = mesh.tiles_per_chip * mesh.cores_per_tile
    sound = np.ones((mesh.chip_count, mesh.height, mesh.width, mesh.cores_per_tile), bool)
    for chip, x, y, core in mesh.faulty.cores if mesh.faulty else ():
        sound[chip, y, x, core] = False
    flat = sound.reshape(mesh.chip_count, per_chip)
    usable = flat & (flat.cumsum(axis=1) <= mesh.usable_cores.value)
    slots = np.argwhere(usable.reshape(sound.shape)).astype(np.int32)
    slots.flags.writeable = False
    return slots


def slot_at(number: int, mesh: MeshSpec) -> CoreSlot:
    """The ``number``-th usable core in raster order."""
    chip, y, x, core = usable_slots(mesh)[number].tolist()
    return CoreSlot(chip=chip, x=x, y=y, core=core)
