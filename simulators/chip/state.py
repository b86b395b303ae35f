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
from mapping.ir.quantized import Int32Array, IntegerGate, IntegerLif, IntegerRelay
from mapping.semantics.fixedpoint import STATE_SHIFT

Int64Array = npt.NDArray[np.int64]


LIF, RELAY, GATE = range(3)
"""Kinds of compartments."""
RECTIFIED, SIGMA, DELTA = 1, 2, 4
"""Flags of relays."""


class Compartments(NamedTuple):
    """One entry per compartment; what a kind has no use for is 0.

    ``decay_one`` and ``decay_two`` are the parts of 4096 that u and v of a LIF compartment, or gain
    and trace of a gate, lose per step. ``setting`` holds the gates that a relay needs, or the trace
    threshold of a gate.
    """

    kind: Int64Array
    core: Int64Array
    decay_one: Int64Array
    decay_two: Int64Array
    threshold: Int64Array
    bias: Int64Array
    setting: Int64Array
    flags: Int64Array


class Tiles(NamedTuple):
    """One entry per synapse tile; ``weights[start + column * rows + row]`` is a mantissa.

    ``condition`` is the number of the one under which the host sends, or -1.
    """

    core: Int32Array
    rows: Int32Array
    target: Int32Array
    source: Int32Array
    sums: Int64Array
    weights_start: Int64Array
    weight_shift: Int32Array
    exponent: Int32Array
    graded: npt.NDArray[np.bool_]
    control: npt.NDArray[np.bool_]
    condition: Int32Array
    weights: npt.NDArray[np.int8]


class Fanout(NamedTuple):
    """Per source: the tiles that read it and the flows that carry its packets, as CSR lists.

    ``condition`` goes with ``flows``; it is that of :class:`Tiles`.
    """

    tile_start: Int32Array
    tiles: Int32Array
    flow_start: Int32Array
    flows: Int32Array
    condition: Int32Array


class Flows(NamedTuple):
    """One entry per flow: its ends (-1 is the host), hops, and whether it stays in a tile.

    ``charged`` is the core to which the network's work belongs; ``chip`` counts hops between chips.
    """

    source: Int32Array
    target: Int32Array
    charged: Int32Array
    east_west: Int32Array
    north_south: Int32Array
    chip: Int32Array
    local: npt.NDArray[np.bool_]


class Conditions(NamedTuple):
    """One entry per condition of the host: compartments ``start:stop``, gates that must be on."""

    start: Int32Array
    stop: Int32Array


class ChipProgram(NamedTuple):
    """A whole program; ``inputs`` sources precede the compartments.

    ``delta`` says that the input is coded by changes.
    """

    inputs: int
    cores: int
    sums: int
    delta: bool
    conditions: Conditions
    compartments: Compartments
    tiles: Tiles
    fanout: Fanout
    flows: Flows


def chip_program(artifact: Artifact, price: float) -> ChipProgram:
    """The flat form of ``artifact``, with the gates at ``price``."""
    partitioned = artifact.partitioned
    first = compartment_numbers(partitioned)
    sources = {name: start + partitioned.input.size for name, start in first.items()}
    sources[partitioned.input.name] = 0
    found = {(spec.gate, spec.gates_needed) for spec in partitioned.projections if spec.gate}
    conditions = sorted(found)
    numbers = {("", 0): -1} | {condition: number for number, condition in enumerate(conditions)}
    tiles = _tiles(partitioned, first, sources, numbers)
    flows = _flows(artifact)
    return ChipProgram(
        inputs=partitioned.input.size,
        cores=len(partitioned.cores),
        sums=int(tiles.rows.sum()),
        delta=partitioned.input.delta,
        conditions=Conditions(
            start=np.array([first[gate] for gate, _ in conditions], np.int32),
            stop=np.array([first[gate] + needed for gate, needed in conditions], np.int32),
        ),
        compartments=_compartments(partitioned, first, price),
        tiles=tiles,
        fanout=_fanout(artifact, tiles, sources, numbers),
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


def _compartments(
    partitioned: PartitionedNetwork, first: dict[str, int], price: float
) -> Compartments:
    total = sum(p.size for p in partitioned.populations if p.name in first)
    table = np.zeros((len(Compartments._fields), total), np.int64)
    compartments = Compartments(*table)
    for population in partitioned.populations:
        if isinstance(population, Input):
            continue
        part = slice(first[population.name], first[population.name] + population.size)
        here = Compartments(*table[:, part])
        match population:
            case IntegerLif():
                here.kind[:] = LIF
                here.decay_one[:] = population.du + 1
                here.decay_two[:] = population.dv
                here.threshold[:] = population.threshold << STATE_SHIFT
                here.bias[:] = population.bias_mantissa.astype(np.int64) << population.bias_exponent
            case IntegerRelay():
                here.kind[:] = RELAY
                here.threshold[:] = population.threshold
                here.bias[:] = population.bias
                here.setting[:] = population.needed
                here.flags[:] = (
                    RECTIFIED * population.rectified
                    + SIGMA * population.sigma
                    + DELTA * population.delta
                )
            case IntegerGate():
                here.kind[:] = GATE
                here.decay_one[:] = population.gain_decay
                here.decay_two[:] = population.trace_decay
                here.threshold[:] = population.thresholds(price)
                here.setting[:] = population.trace_threshold
    for number, program in enumerate(partitioned.cores):
        for group in program.groups:
            start = first[group.population]
            compartments.core[start + group.start : start + group.stop] = number
    return compartments


def _tiles(
    partitioned: PartitionedNetwork,
    first: dict[str, int],
    sources: dict[str, int],
    conditions: dict[tuple[str, int], int],
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
        control=np.array([s.port == "control" for s in specs], np.bool_),
        condition=np.array([conditions[s.gate, s.gates_needed] for s in specs], np.int32),
        weights=np.concatenate([np.zeros(0, np.int8), *weights]),
    )


def _flows(artifact: Artifact) -> Flows:
    routing, placement = artifact.routing, artifact.placement
    hops = routing.hops(artifact.chip.mesh)
    local = [placement.same_tile(source, target) for source, target in routing.pairs()]
    return Flows(
        source=routing.source,
        target=routing.target,
        charged=routing.charged,
        east_west=hops.east_west,
        north_south=hops.north_south,
        chip=hops.chip,
        local=np.array(local, np.bool_),
    )


def _fanout(
    artifact: Artifact,
    tiles: Tiles,
    sources: dict[str, int],
    conditions: dict[tuple[str, int], int],
) -> Fanout:
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
    carried: list[list[tuple[int, int]]] = [[] for _ in range(total)]
    for name, destinations in partitioned.destinations().items():
        for begin, end, sender in homes[name]:
            for d in destinations:
                for source in range(max(begin, d.start), min(end, d.stop)):
                    entry = (number_of[sender, d.core], conditions[d.gate, d.gates_needed])
                    carried[sources[name] + source].append(entry)
    return Fanout(
        *_csr(read_by),
        *_csr([[flow for flow, _ in entries] for entries in carried]),
        np.array([condition for entries in carried for _, condition in entries], np.int32),
    )


def _csr(lists: list[list[int]]) -> tuple[Int32Array, Int32Array]:
    starts = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    return starts, np.array([item for items in lists for item in items], np.int32)
