"""Find the links that packets take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.errors import RoutingError
from mapping.ir.partitioned import PartitionedNetwork, packet_flows
from mapping.ir.placed import Placement
from mapping.ir.routed import Routing, faulty_flows, link_ends, xy_links
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Dimension-order routing, x before y; one unicast packet per receiving core."""

    def run(self, partitioned: PartitionedNetwork, placement: Placement, chip: ChipSpec) -> Routing:
        """Routes of all flows, sorted by sender and receiver.

        Raises:
            RoutingError: a core lies off the mesh (ADL-RTE-01), or a route would take a faulty link
                (ADL-RTE-02).
        """
        for core, slot in enumerate(placement.slots):
            if not slot.on_mesh(chip.mesh):
                raise RoutingError(
                    f"its place, tile ({slot.x}, {slot.y}) of chip {slot.chip}, is off the mesh: "
                    f"{chip.mesh.chip_count} chips of {chip.mesh.width} × {chip.mesh.height} tiles",
                    where=f"core {core}",
                    remedy="use a placer that knows this target",
                    code="ADL-RTE-01",
                )
        flows = np.array(packet_flows(partitioned), np.int32).reshape(-1, 2)
        tiles = placement.tiles(chip.mesh)
        offsets, links = xy_links(tiles[flows[:, 0]], tiles[flows[:, 1]], chip.mesh)
        routing = Routing(source=flows[:, 0], target=flows[:, 1], offsets=offsets, links=links)
        for flow, link in faulty_flows(routing, chip.mesh):
            (x, y), (to_x, to_y) = link_ends(link, chip.mesh)
            source, target = flows[flow].tolist()
            raise RoutingError(
                f"its route takes the faulty link from tile ({x}, {y}) to ({to_x}, {to_y})",
                where=f"flow {source} → {target}",
                remedy="let the placer `anneal` look for places without such routes, with another "
                "seed if need be, or use fewer cores",
                code="ADL-RTE-02",
            )
        return routing
