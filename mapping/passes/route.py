"""Find the links that packets take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.errors import RoutingError
from mapping.ir.partitioned import HOST, PartitionedNetwork, packet_flows
from mapping.ir.placed import Placement
from mapping.ir.routed import DIRECTIONS, Routing
from mapping.targets.spec import ChipSpec, MeshSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Dimension-order routing, x before y; one unicast packet per receiving core."""

    def run(self, partitioned: PartitionedNetwork, placement: Placement, chip: ChipSpec) -> Routing:
        """Routes of all flows, sorted by sender and receiver.

        Raises:
            RoutingError: ADL-RTE-01, a core lies off the mesh.
        """
        tiles = {HOST: chip.mesh.host_tile}
        for core, slot in enumerate(placement.slots):
            if not slot.on_mesh(chip.mesh):
                raise RoutingError(
                    f"its place, tile ({slot.x}, {slot.y}) of chip {slot.chip}, is off the mesh: "
                    f"{chip.mesh.chip_count} chips of {chip.mesh.width} × {chip.mesh.height} tiles",
                    where=f"core {core}",
                    remedy="use a placer that knows this target",
                    code="ADL-RTE-01",
                )
            tiles[core] = slot.tile(chip.mesh)
        flows = packet_flows(partitioned)
        paths = [xy_path(tiles[source], tiles[target], chip.mesh) for source, target in flows]
        return Routing(
            source=np.array([source for source, _ in flows], np.int32),
            target=np.array([target for _, target in flows], np.int32),
            offsets=np.cumsum([0, *map(len, paths)], dtype=np.int32),
            links=np.array([link for path in paths for link in path], np.int32),
        )


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
