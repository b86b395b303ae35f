"""Checks between passes. They guard against mistakes of this package, so they assert."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from mapping.ir.network import Input
from mapping.ir.partitioned import PartitionedNetwork, reassemble
from mapping.ir.placed import Placement
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.routed import Routing, link_ends
from mapping.targets.spec import MeshSpec


def verify_partition(quantized: QuantizedNetwork, partitioned: PartitionedNetwork) -> None:
    """Every compartment and synapse is there exactly once, and nothing else is."""
    seen = {
        p.name: np.zeros(p.size, int) for p in quantized.populations if not isinstance(p, Input)
    }
    synapses = [np.zeros(p.spec.rows, int) for p in quantized.projections]
    for core, program in enumerate(partitioned.cores):
        own: dict[str, set[int]] = defaultdict(set)
        for group in program.groups:
            seen[group.population][group.start : group.stop] += 1
            own[group.population] |= set(range(group.start, group.stop))
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            rows = range(tile.target_start, tile.target_stop)
            assert set(rows) <= own[spec.target], f"core {core} lacks the targets of a tile"
            offset = spec.target_start
            synapses[tile.projection][tile.target_start - offset : tile.target_stop - offset] += 1
    assert all((count == 1).all() for count in seen.values()), "compartments lost or doubled"
    assert all((count == 1).all() for count in synapses), "synapses lost or doubled"
    again = reassemble(partitioned)
    for before, after in zip(quantized.projections, again.projections, strict=True):
        assert before.spec == after.spec
        assert np.array_equal(before.mantissas, after.mantissas), f"{before.spec.name} changed"


def verify_placement(partitioned: PartitionedNetwork, placement: Placement) -> None:
    """One slot per core program, no slot twice."""
    assert len(placement.slots) == len(partitioned.cores)
    assert len(set(placement.slots)) == len(placement.slots), "two programs share a core"


def verify_routing(placement: Placement, routing: Routing, mesh: MeshSpec) -> None:
    """Every route leads link by link from its sender to its receiver, x before y."""
    for flow in range(routing.flows):
        source, target = int(routing.source[flow]), int(routing.target[flow])
        slot = placement.slots[source]
        tile = mesh.host_tile if source < 0 else (slot.x, slot.y)
        path = routing.path(flow).tolist()
        for link in path:
            start, stop = link_ends(link, mesh)
            assert start == tile, f"flow {flow} jumps"
            tile = stop
        end = placement.slots[target]
        assert tile == (end.x, end.y), f"flow {flow} ends at {tile}"
        vertical = [link % 4 >= 2 for link in path]
        assert vertical == sorted(vertical), f"flow {flow} turns back to x"
