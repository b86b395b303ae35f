"""Checks between passes. They guard against mistakes of this package, so they assert."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapping.ir.network import Input
from mapping.ir.partitioned import Members, PartitionedNetwork, reassemble
from mapping.ir.placed import Placement
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.routed import Routing, link_ends
from mapping.ir.synapses import ConvSynapses, SparseSynapses
from mapping.targets.spec import MeshSpec


def partition_faults(partitioned: PartitionedNetwork) -> Iterator[str]:
    """What is wrong with core programs: lost, doubled or unknown compartments and synapses."""
    sizes = {p.name: p.size for p in partitioned.populations}
    inputs = [p.name for p in partitioned.populations if isinstance(p, Input)]
    if len(inputs) != 1 or partitioned.output not in sizes:
        yield f"inputs {inputs} and output {partitioned.output!r} do not fit the populations"
        return
    for spec in partitioned.projections:
        inside = 0 <= spec.source_start < spec.source_stop <= sizes.get(
            spec.source, 0
        ) and 0 <= spec.target_start < spec.target_stop <= sizes.get(spec.target, 0)
        if not inside or spec.target in inputs:
            yield f"projection {spec.name} leaves its populations"
            return
    seen = {name: np.zeros(size, int) for name, size in sizes.items() if name not in inputs}
    synapses = [np.zeros(spec.rows, int) for spec in partitioned.projections]
    for core, program in enumerate(partitioned.cores):
        for group in program.groups:
            ends = [end for ends in group.ranges for end in ends]
            known = group.population in seen and bool(ends) and ends == sorted(set(ends))
            if not known or ends[0] < 0 or ends[-1] > seen[group.population].size:
                yield f"core {core} holds the unknown compartments {group}"
                return
            seen[group.population][group.members] += 1
        names = [group.population for group in program.groups]
        if len(set(names)) < len(names):
            yield f"core {core} holds two groups of one population"
            return
        for number, tile in enumerate(program.tiles):
            if tile.projection >= len(partitioned.projections):
                yield f"tile {number} of core {core} belongs to no projection"
                return
            spec = partitioned.projections[tile.projection]
            rows = program.targets(spec) - spec.target_start
            if not rows.size:
                yield f"tile {number} of core {core} ends on compartments that are elsewhere"
                return
            if tile.synapses.shape != (rows.size, spec.columns) or tile.synapses.form != spec.form:
                yield f"tile {number} of core {core} has the wrong shape"
                return
            if isinstance(tile.synapses, ConvSynapses) and not _joined(tile.synapses, rows):
                yield f"tile {number} of core {core} skips channels or has rows of others"
                return
            synapses[tile.projection][rows] += 1
    for name, count in seen.items():
        if (count != 1).any():
            yield f"compartments of {name} are lost or doubled"
    for spec, count in zip(partitioned.projections, synapses, strict=True):
        if (count != 1).any():
            yield f"synapses of {spec.name} are lost or doubled"


def _joined(synapses: ConvSynapses, rows: Members) -> bool:
    """Whether ``rows`` are its outputs and, of each position, neighbouring channels."""
    if not np.array_equal(synapses.outputs, rows):
        return False
    channel, position = np.divmod(rows, synapses.conv.plane)
    order = np.lexsort((channel, position))
    same = np.diff(position[order]) == 0
    return bool((np.diff(channel[order])[same] == 1).all())


def verify_partition(quantized: QuantizedNetwork, partitioned: PartitionedNetwork) -> None:
    """Every compartment and synapse is there exactly once, and nothing else is."""
    faults = list(partition_faults(partitioned))
    assert not faults, faults[0]
    again = reassemble(partitioned)
    for before, after in zip(quantized.projections, again.projections, strict=True):
        assert before.spec == after.spec
        assert np.array_equal(before.mantissas, after.mantissas), f"{before.spec.name} changed"
        if isinstance(before.synapses, SparseSynapses):
            assert isinstance(after.synapses, SparseSynapses)
            for what in ("targets", "starts"):
                one, other = getattr(before.synapses, what), getattr(after.synapses, what)
                assert np.array_equal(one, other), f"{before.spec.name} has other {what}"


def verify_placement(partitioned: PartitionedNetwork, placement: Placement) -> None:
    """One slot per core program, no slot twice."""
    assert len(placement.slots) == len(partitioned.cores)
    assert len(set(placement.slots)) == len(placement.slots), "two programs share a core"


def verify_routing(placement: Placement, routing: Routing, mesh: MeshSpec) -> None:
    """Every route leads link by link from its sender to its receiver, x before y."""
    for flow in range(routing.flows):
        source, target = int(routing.source[flow]), int(routing.target[flow])
        tile = mesh.host_tile if source < 0 else placement.slots[source].tile(mesh)
        path = routing.path(flow).tolist()
        for link in path:
            start, stop = link_ends(link, mesh)
            assert start == tile, f"flow {flow} jumps"
            tile = stop
        wanted = mesh.host_tile if target < 0 else placement.slots[target].tile(mesh)
        assert tile == wanted, f"flow {flow} ends at {tile}"
        vertical = [link % 4 >= 2 for link in path]
        assert vertical == sorted(vertical), f"flow {flow} turns back to x"
        assert len({link // 4 for link in path}) == len(path), f"flow {flow} visits a tile twice"
