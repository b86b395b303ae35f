"""Lay a compiled program out as flat arrays.

Compartments are numbered population by population, sources are the inputs followed by the
compartments. Weights are stored as 8-bit mantissas, one contiguous run of rows per input axon of a
tile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.artifact.schema import Artifact
from mapping.ir.network import Input
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.quantized import Int32Array, IntegerLif, IntegerRelay
from mapping.semantics.fixedpoint import STATE_SHIFT

Int64Array = npt.NDArray[np.int64]


class Compartments(NamedTuple):
    """One entry per compartment; LIF parameters are 0 for relays and the other way round."""

    is_relay: npt.NDArray[np.bool_]
    core: Int32Array
    du: Int32Array
    dv: Int32Array
    threshold: Int64Array
    bias: Int64Array


class Tiles(NamedTuple):
    """One entry per synapse tile; ``weights[start + column * rows + row]`` is a mantissa."""

    core: Int32Array
    rows: Int32Array
    target: Int32Array
    source: Int32Array
    sums: Int64Array
    weights_start: Int64Array
    weight_shift: Int32Array
    exponent: Int32Array
    graded: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.int8]


class Fanout(NamedTuple):
    """Per source: the tiles that read it and the flows that carry its packets, as CSR lists."""

    tile_start: Int32Array
    tiles: Int32Array
    flow_start: Int32Array
    flows: Int32Array


class Flows(NamedTuple):
    """One entry per flow: its ends (-1 is the host), hops, and whether it stays in a tile."""

    source: Int32Array
    target: Int32Array
    east_west: Int32Array
    north_south: Int32Array
    local: npt.NDArray[np.bool_]


class ChipProgram(NamedTuple):
    """A whole program; ``inputs`` sources precede the compartments."""

    inputs: int
    cores: int
    sums: int
    compartments: Compartments
    tiles: Tiles
    fanout: Fanout
    flows: Flows


def chip_program(artifact: Artifact) -> ChipProgram:
    """The flat form of ``artifact``."""
    partitioned = artifact.partitioned
    first = compartment_numbers(partitioned)
    sources = {name: start + partitioned.input.size for name, start in first.items()}
    sources[partitioned.input.name] = 0
    tiles = _tiles(partitioned, first, sources)
    flows = _flows(artifact)
    return ChipProgram(
        inputs=partitioned.input.size,
        cores=len(partitioned.cores),
        sums=int(tiles.rows.sum()),
        compartments=_compartments(partitioned, first),
        tiles=tiles,
        fanout=_fanout(artifact, tiles, sources),
        flows=flows,
    )


def compartment_numbers(partitioned: PartitionedNetwork) -> dict[str, int]:
    """Number of the first compartment of every population but the input."""
    numbers: dict[str, int] = {}
    total = 0
    for population in partitioned.populations:
        if not isinstance(population, Input):
            numbers[population.name] = total
            total += population.size
    return numbers


def _compartments(partitioned: PartitionedNetwork, first: dict[str, int]) -> Compartments:
    total = sum(p.size for p in partitioned.populations if p.name in first)
    is_relay, core = np.zeros(total, np.bool_), np.zeros(total, np.int32)
    du, dv = np.zeros(total, np.int32), np.zeros(total, np.int32)
    threshold, bias = np.zeros(total, np.int64), np.zeros(total, np.int64)
    for population in partitioned.populations:
        if isinstance(population, Input):
            continue
        part = slice(first[population.name], first[population.name] + population.size)
        match population:
            case IntegerLif():
                du[part], dv[part] = population.du, population.dv
                threshold[part] = population.threshold << STATE_SHIFT
                bias[part] = population.bias_mantissa.astype(np.int64) << population.bias_exponent
            case IntegerRelay():
                is_relay[part] = True
                threshold[part] = population.threshold
    for number, program in enumerate(partitioned.cores):
        for group in program.groups:
            start = first[group.population]
            core[start + group.start : start + group.stop] = number
    return Compartments(is_relay, core, du, dv, threshold, bias)


def _tiles(
    partitioned: PartitionedNetwork, first: dict[str, int], sources: dict[str, int]
) -> Tiles:
    placed = [(c, t) for c, program in enumerate(partitioned.cores) for t in program.tiles]
    specs = [partitioned.projections[tile.projection] for _, tile in placed]
    rows = np.array([tile.mantissas.shape[0] for _, tile in placed], np.int32)
    sizes = np.array([tile.mantissas.size for _, tile in placed], np.int64)
    weights = [np.ascontiguousarray(tile.mantissas.T).ravel() for _, tile in placed]
    return Tiles(
        core=np.array([core for core, _ in placed], np.int32),
        rows=rows,
        target=np.array(
            [first[s.target] + t.target_start for s, (_, t) in zip(specs, placed, strict=True)],
            np.int32,
        ),
        source=np.array([sources[s.source] + s.source_start for s in specs], np.int32),
        sums=np.cumsum(rows, dtype=np.int64) - rows,
        weights_start=np.cumsum(sizes) - sizes,
        weight_shift=np.array([s.weight_shift for s in specs], np.int32),
        exponent=np.array([s.exponent for s in specs], np.int32),
        graded=np.array([s.graded for s in specs], np.bool_),
        weights=np.concatenate([np.zeros(0, np.int8), *weights]),
    )


def _flows(artifact: Artifact) -> Flows:
    routing, placement = artifact.routing, artifact.placement
    east_west, north_south = routing.hops()
    local = [placement.same_tile(source, target) for source, target in routing.pairs()]
    return Flows(
        source=routing.source,
        target=routing.target,
        east_west=east_west,
        north_south=north_south,
        local=np.array(local, np.bool_),
    )


def _fanout(artifact: Artifact, tiles: Tiles, sources: dict[str, int]) -> Fanout:
    partitioned = artifact.partitioned
    total = sum(population.size for population in partitioned.populations)
    read_by: list[list[int]] = [[] for _ in range(total)]
    placed = [tile for program in partitioned.cores for tile in program.tiles]
    for number, tile in enumerate(placed):
        columns = partitioned.projections[tile.projection].columns
        for source in range(int(tiles.source[number]), int(tiles.source[number]) + columns):
            read_by[source].append(number)
    number_of = {pair: flow for flow, pair in enumerate(artifact.routing.pairs())}
    homes = partitioned.homes()
    carried: list[list[int]] = [[] for _ in range(total)]
    for name, slices in partitioned.destinations().items():
        for begin, end, sender in homes[name]:
            for start, stop, core in slices:
                for source in range(max(begin, start), min(end, stop)):
                    carried[sources[name] + source].append(number_of[sender, core])
    return Fanout(*_csr(read_by), *_csr(carried))


def _csr(lists: list[list[int]]) -> tuple[Int32Array, Int32Array]:
    starts = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    return starts, np.array([item for items in lists for item in items], np.int32)
