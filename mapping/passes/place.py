"""Give every core program a physical core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mapping.errors import PlacementError
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.placed import CoreSlot, Placement, slot_at
from mapping.registry import Registry
from mapping.targets.spec import ChipSpec

Placer = Callable[[PartitionedNetwork, ChipSpec, int], tuple[CoreSlot, ...]]
PLACERS: Registry[Placer] = Registry("placer", "adlrns_map.placers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Choose slots with a registered placer.

    Attributes:
        placer: its name.
        seed: for placers that search.
    """

    placer: str = "raster"
    seed: int = 0

    def run(self, partitioned: PartitionedNetwork, chip: ChipSpec) -> Placement:
        """One slot per core program.

        Raises:
            ConfigError: ADL-CFG-01, the placer is unknown.
            PlacementError: ADL-PLC-01, there are more core programs than cores.
        """
        place = PLACERS.get(self.placer)
        if len(partitioned.cores) > chip.cores:
            raise PlacementError(
                f"{len(partitioned.cores)} core programs do not fit on {chip.cores} cores",
                where=f"network {partitioned.name}",
                remedy="lower the rank or choose a bigger target",
                code="ADL-PLC-01",
            )
        return Placement(slots=place(partitioned, chip, self.seed))


@PLACERS.register("raster")
def raster(partitioned: PartitionedNetwork, chip: ChipSpec, seed: int) -> tuple[CoreSlot, ...]:
    """Core programs in order along a tile, x, y, then chip by chip; uses no randomness."""
    del seed
    return tuple(slot_at(number, chip.mesh) for number in range(len(partitioned.cores)))
