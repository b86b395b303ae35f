"""Lay a compiled program out as flat arrays, ready for the kernels.

Sources are the inputs followed by the compartments. Compartments are numbered core by core in
*pieces*: runs of one population on one core that every synapse tile covers whole or not at all.
Within a piece they follow each other as in the population; where a convolution ends there, by
position first and channel second, so that a spike reaches neighbours. A *section* is the part of a
tile that ends on one piece, a *block* so many compartments of a piece as are updated together, and
sources that reach the same sections over the same flows form a *class*.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.artifact.schema import Artifact
from mapping.ir.network import Input
from mapping.ir.partitioned import CompartmentGroup, Destination, PartitionedNetwork
from mapping.ir.quantized import (
    Int8Array,
    Int32Array,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerRelay,
    ProjectionSpec,
)
from mapping.ir.synapses import ConvShape, ConvSynapses, SparseSynapses, Synapses
from mapping.semantics.fixedpoint import STATE_SHIFT

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BLOCK = 64
"""Compartments that are updated together, and rows of a section that are delivered together."""
LIF, RELAY, GATE = range(3)
"""Kinds of compartments."""
RECTIFIED, SIGMA, DELTA = 1, 2, 4
"""Flags of relays."""
DENSE, SPARSE, CONV = range(3)
"""Forms of sections."""
_WIDTH = {
    "inputs": (3,),
    "outputs": (3,),
    "kernel": (2,),
    "stride": (2,),
    "padding": (2,),
    "dilation": (2,),
}
"""Numbers per convolution in the fields of :class:`Convolutions` that have several."""


class Blocks(NamedTuple):
    """One entry per block: compartments ``start:stop`` of one kind on one core.

    ``decay_one`` and ``decay_two`` are the parts of 4096 that u and v of LIF compartments, or gain
    and trace of gates, lose per step. ``always`` marks those that are updated in every step.
    """

    start: Int32Array
    stop: Int32Array
    core: Int32Array
    kind: Int32Array
    decay_one: Int64Array
    decay_two: Int64Array
    flags: Int32Array
    always: BoolArray


class Compartments(NamedTuple):
    """One entry per compartment; what a kind has no use for is 0.

    ``setting`` holds the gates that a relay needs, or the trace threshold of a gate. ``place`` is
    where its spikes are recorded, among those that are ``graded``, relays, or the others.
    """

    threshold: Int32Array
    bias: Int32Array
    setting: Int32Array
    place: Int32Array
    graded: BoolArray


class Sections(NamedTuple):
    """One entry per section; its ``rows`` begin at the compartment ``target``.

    It has a sum for each row and slot, a slot for each step in which spikes can arrive at once,
    and a flag for each slot and ``BLOCK`` rows that says whether something has been added. The
    weights of column ``c`` are a run of ``rows`` mantissas if it is dense, entries
    ``starts[first_start + c]`` to the next of ``weights`` and ``entry_rows`` if it is sparse, and
    as :class:`Convolutions` says otherwise. ``condition`` is the number of the one under which the
    host sends, or -1.
    """

    core: Int32Array
    rows: Int32Array
    target: Int32Array
    first_block: Int32Array
    first_column: Int32Array
    form: Int32Array
    control: Int32Array
    graded: BoolArray
    weight_shift: Int32Array
    exponent: Int32Array
    condition: Int32Array
    slots: Int32Array
    first_slot: Int32Array
    first_delay: Int64Array
    sums: Int64Array
    flags: Int64Array
    first_weight: Int64Array
    first_start: Int64Array
    first_entry_row: Int64Array
    convolution: Int32Array


class Convolutions(NamedTuple):
    """One entry per convolutional section.

    Of each output position, numbered from ``first_position`` on, the section holds the channels
    ``lowest`` to before ``highest``, in rows from ``row`` on. The weights of an input channel and
    kernel place lie together, ``width`` of them, from the first channel of the group on that the
    section holds.
    """

    inputs: Int32Array
    outputs: Int32Array
    kernel: Int32Array
    stride: Int32Array
    padding: Int32Array
    dilation: Int32Array
    in_group: Int32Array
    out_group: Int32Array
    first_channel: Int32Array
    width: Int32Array
    first_position: Int64Array
    lowest: Int32Array
    highest: Int32Array
    row: Int32Array


class Classes(NamedTuple):
    """Per class: the sections that its sources reach, and the flows that carry their packets.

    Both are CSR lists; ``condition`` goes with ``flows`` and is that of :class:`Sections`.
    """

    section_start: Int32Array
    sections: Int32Array
    flow_start: Int32Array
    flows: Int32Array
    condition: Int32Array


class Flows(NamedTuple):
    """One entry per flow: its ends (-1 is the host), hops, and whether it stays in a tile.

    ``charged`` is the core to which the network's work belongs; flow ``f`` takes
    ``links[link_start[f]:link_start[f + 1]]``.
    """

    source: Int32Array
    target: Int32Array
    charged: Int32Array
    east_west: Int32Array
    north_south: Int32Array
    local: BoolArray
    link_start: Int32Array
    links: Int32Array


class Conditions(NamedTuple):
    """CSR list of the gates, as compartments, that must be on for each condition of the host."""

    start: Int32Array
    gates: Int32Array


class ChipProgram(NamedTuple):
    """A whole program; ``inputs`` sources precede the compartments.

    ``delta`` says that the input is coded by changes. ``source_class`` and ``source_column`` have
    an entry per source: its class, and its number within its population.
    """

    inputs: int
    cores: int
    delta: bool
    conditions: Conditions
    blocks: Blocks
    compartments: Compartments
    sections: Sections
    convolutions: Convolutions
    classes: Classes
    flows: Flows
    source_class: Int32Array
    source_column: Int32Array
    weights: Int8Array
    starts: Int64Array
    entry_rows: Int32Array
    delays: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A program with the places of its populations.

    Attributes:
        program: for the kernels.
        numbers: by population but the input, ``(size,)`` compartment numbers.
        places: by population but the input, the slice of the record that its spikes go to.
        per_core: ``(cores,)`` compartments on each core.
    """

    program: ChipProgram
    numbers: dict[str, Int32Array]
    places: dict[str, slice]
    per_core: Int64Array

    @property
    def weight_bytes(self) -> int:
        """Memory that synapses take [B]."""
        program = self.program
        tables = (program.weights, program.starts, program.entry_rows, program.delays)
        return sum(int(table.nbytes) for table in (*tables, *program.convolutions))


def lay_out(artifact: Artifact, price: float) -> Layout:
    """The flat form of ``artifact``, with the gates at ``price``."""
    partitioned = artifact.partitioned
    found = {(spec.gate, spec.gates_needed) for spec in partitioned.projections if spec.gate}
    conditions = sorted(found)
    numbers_of = {("", 0): -1} | {condition: number for number, condition in enumerate(conditions)}
    pieces = _pieces(partitioned)
    numbers = _numbers(partitioned, pieces)
    places = _places(partitioned)
    builder = _Sections(partitioned=partitioned, pieces=pieces, conditions=numbers_of)
    sections, convolutions = builder.build()
    classes, source_class = _classes(artifact, builder.reads, numbers, numbers_of)
    own = partitioned.input
    columns = np.zeros(own.size + sum(n.size for n in numbers.values()), np.int32)
    columns[: own.size] = np.arange(own.size)
    for number in numbers.values():
        columns[own.size + number] = np.arange(number.size)
    program = ChipProgram(
        inputs=own.size,
        cores=len(partitioned.cores),
        delta=own.delta,
        conditions=Conditions(*_csr(numbers[gate][:needed] for gate, needed in conditions)),
        blocks=_blocks(partitioned, pieces),
        compartments=_compartments(partitioned, numbers, places, price),
        sections=sections,
        convolutions=convolutions,
        classes=classes,
        flows=_flows(artifact),
        source_class=source_class,
        source_column=columns,
        weights=_joined(builder.weights, np.int8),
        starts=_joined(builder.starts, np.int64),
        entry_rows=_joined(builder.entry_rows, np.int32),
        delays=_joined(builder.delays, np.uint8),
    )
    per_core = np.array([program.compartments for program in partitioned.cores], np.int64)
    return Layout(program=program, numbers=numbers, places=places, per_core=per_core)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """A run of compartments, the core it lies on, and where its numbers begin.

    ``order`` gives its compartments in the order of their numbers, counted from its first.
    """

    core: int
    group: CompartmentGroup
    first: int
    first_block: int
    order: Int64Array


def _pieces(partitioned: PartitionedNetwork) -> list[_Piece]:
    shapes = {s.target: s.conv for s in partitioned.projections if s.conv is not None}
    found: list[_Piece] = []
    first = first_block = 0
    for core in range(len(partitioned.cores)):
        for group in partitioned.pieces(core):
            order = np.arange(group.size)
            if group.population in shapes:
                order = np.argsort(
                    (order + group.start) % shapes[group.population].plane, kind="stable"
                )
            found.append(
                _Piece(core=core, group=group, first=first, first_block=first_block, order=order)
            )
            first += group.size
            first_block += -(-group.size // BLOCK)
    return found


def _numbers(partitioned: PartitionedNetwork, pieces: list[_Piece]) -> dict[str, Int32Array]:
    numbers = {
        p.name: np.zeros(p.size, np.int32)
        for p in partitioned.populations
        if not isinstance(p, Input)
    }
    for piece in pieces:
        own = numbers[piece.group.population]
        own[piece.group.start + piece.order] = piece.first + np.arange(piece.group.size)
    return numbers


def _places(partitioned: PartitionedNetwork) -> dict[str, slice]:
    places: dict[str, slice] = {}
    ends = {False: 0, True: 0}
    for population in partitioned.populations:
        if not isinstance(population, Input):
            graded = isinstance(population, IntegerRelay)
            places[population.name] = slice(ends[graded], ends[graded] + population.size)
            ends[graded] += population.size
    return places


def _blocks(partitioned: PartitionedNetwork, pieces: list[_Piece]) -> Blocks:
    rows: list[tuple[int, ...]] = []
    for piece in pieces:
        population = partitioned.population(piece.group.population)
        for start in range(0, piece.group.size, BLOCK):
            stop = min(start + BLOCK, piece.group.size)
            own = piece.group.start + piece.order[start:stop]
            rows.append(
                (piece.first + start, piece.first + stop, piece.core, *_of_kind(population, own))
            )
    table = np.array(rows, np.int64).reshape(-1, len(Blocks._fields)).T
    return Blocks(
        *(table[:4].astype(np.int32)),
        *np.ascontiguousarray(table[4:6]),
        table[6].astype(np.int32),
        table[7].astype(np.bool_),
    )


def _of_kind(population: IntegerPopulation, own: Int64Array) -> tuple[int, int, int, int, int]:
    """Kind, both decays, flags, and whether to update the compartments ``own`` in every step."""
    match population:
        case IntegerLif():
            always = bool(population.bias_mantissa[own].any())
            return LIF, population.du + 1, population.dv, 0, always
        case IntegerRelay():
            flags = (
                RECTIFIED * population.rectified
                + SIGMA * population.sigma
                + DELTA * population.delta
            )
            return RELAY, 0, 0, flags, bool(population.bias[own].any())
        case IntegerGate():
            return GATE, population.gain_decay, population.trace_decay, 0, True
    raise AssertionError("inputs have no compartments")


def _compartments(
    partitioned: PartitionedNetwork,
    numbers: dict[str, Int32Array],
    places: dict[str, slice],
    price: float,
) -> Compartments:
    total = sum(own.size for own in numbers.values())
    table = Compartments(*np.zeros((4, total), np.int32), np.zeros(total, np.bool_))
    for population in partitioned.populations:
        if isinstance(population, Input):
            continue
        own = numbers[population.name]
        table.place[own] = np.arange(own.size) + places[population.name].start
        match population:
            case IntegerLif():
                table.threshold[own] = population.threshold << STATE_SHIFT
                table.bias[own] = population.bias_mantissa << population.bias_exponent
            case IntegerRelay():
                table.threshold[own] = population.threshold
                table.bias[own] = population.bias
                table.setting[own] = population.needed
                table.graded[own] = True
            case IntegerGate():
                table.threshold[own] = population.thresholds(price)
                table.setting[own] = population.trace_threshold
    return table


@dataclass(slots=True, kw_only=True)
class _Sections:
    """Collects sections and the tables that they point into."""

    partitioned: PartitionedNetwork
    pieces: list[_Piece]
    conditions: dict[tuple[str, int], int]
    rows: list[dict[str, int]] = field(default_factory=list)
    reads: list[tuple[str, int, int]] = field(default_factory=list)
    weights: list[Int8Array] = field(default_factory=list)
    starts: list[Int64Array] = field(default_factory=list)
    entry_rows: list[Int32Array] = field(default_factory=list)
    delays: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    convolutions: list[dict[str, npt.ArrayLike]] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def build(self) -> tuple[Sections, Convolutions]:
        by_core: dict[tuple[int, str], list[_Piece]] = defaultdict(list)
        for piece in self.pieces:
            by_core[piece.core, piece.group.population].append(piece)
        for core, program in enumerate(self.partitioned.cores):
            for tile in program.tiles:
                spec = self.partitioned.projections[tile.projection]
                for piece in by_core[core, spec.target]:
                    if tile.target_start <= piece.group.start < tile.target_stop:
                        first = piece.group.start - tile.target_start
                        part = tile.synapses.rows(first, first + piece.group.size)
                        self._add(spec, piece, part)
        table = {
            name: np.array([row[name] for row in self.rows], _dtype(Sections, name))
            for name in Sections._fields
        }
        return Sections(**table), self._convolutions()

    def _add(self, spec: ProjectionSpec, piece: _Piece, synapses: Synapses) -> None:
        rows, slots = piece.group.size, 1 + spec.longest_delay
        blocks = -(-rows // BLOCK)
        own = {
            "core": piece.core,
            "rows": rows,
            "target": piece.first,
            "first_block": piece.first_block,
            "first_column": spec.source_start,
            "control": spec.port == "control",
            "graded": spec.graded,
            "weight_shift": spec.weight_shift,
            "exponent": spec.exponent,
            "condition": self.conditions[spec.gate, spec.gates_needed],
            "slots": slots,
            "first_slot": self._take("slots", slots),
            "first_delay": -1,
            "sums": self._take("sums", slots * rows),
            "flags": self._take("flags", slots * blocks),
            "first_start": 0,
            "first_entry_row": 0,
            "convolution": -1,
        }
        if spec.delays:
            own["first_delay"] = self._take("delays", len(spec.delays))
            self.delays.append(np.array(spec.delays, np.uint8))
        inverse = np.argsort(piece.order)
        match synapses:
            case SparseSynapses():
                own["form"] = SPARSE
                own["first_start"] = self._take("starts", synapses.starts.size)
                own["first_entry_row"] = self._take("entry_rows", synapses.count)
                self.starts.append(synapses.starts)
                self.entry_rows.append(inverse[synapses.targets].astype(np.int32))
                weights = synapses.values
            case ConvSynapses():
                own["form"] = CONV
                own["convolution"] = len(self.convolutions)
                weights = self._add_convolution(synapses)
            case _:
                own["form"] = DENSE
                weights = np.ascontiguousarray(synapses.values[piece.order].T).ravel()
        own["first_weight"] = self._take("weights", weights.size)
        self.weights.append(weights)
        self.rows.append(own)
        self.reads.append((spec.source, spec.source_start, spec.source_stop))

    def _take(self, table: str, count: int) -> int:
        first = self.ends[table]
        self.ends[table] += count
        return first

    def _add_convolution(self, synapses: ConvSynapses) -> Int8Array:
        """Note the geometry; returns the weights, the output channels of a group innermost."""
        conv = synapses.conv
        first, last = conv.channels(synapses.start, synapses.stop)
        in_group, out_group = conv.inputs[0] // conv.groups, conv.out_channels // conv.groups
        width = min(out_group, last - first)
        position = np.arange(conv.plane)
        lowest = -((position - synapses.start) // conv.plane)
        highest = -((position - synapses.stop) // conv.plane)
        counts = highest - lowest
        self.convolutions.append(
            {
                "inputs": conv.inputs,
                "outputs": conv.outputs,
                "kernel": conv.kernel,
                "stride": conv.stride,
                "padding": conv.padding,
                "dilation": conv.dilation,
                "in_group": in_group,
                "out_group": out_group,
                "first_channel": first,
                "width": width,
                "first_position": self._take("positions", conv.plane),
                "lowest": lowest,
                "highest": highest,
                "row": np.cumsum(counts) - counts,
            }
        )
        return _channels_last(synapses, conv, first, last, width)

    def _convolutions(self) -> Convolutions:
        joined = ("lowest", "highest", "row")
        table: dict[str, npt.NDArray[np.generic]] = {}
        for name in Convolutions._fields:
            values = [conv[name] for conv in self.convolutions]
            dtype = _dtype(Convolutions, name)
            if name in joined:
                table[name] = _joined([np.asarray(v) for v in values], dtype)
            else:
                table[name] = np.array(values, dtype).reshape(-1, *_WIDTH.get(name, ()))
        return Convolutions(**table)  # type: ignore[arg-type]


def _channels_last(
    synapses: ConvSynapses, conv: ConvShape, first: int, last: int, width: int
) -> Int8Array:
    """``(input channels, *kernel, width)`` mantissas, flat."""
    in_group, out_group = conv.inputs[0] // conv.groups, conv.out_channels // conv.groups
    weights = np.zeros((conv.inputs[0], *conv.kernel, width), np.int8)
    for group in range(conv.groups):
        low, high = max(first, group * out_group), min(last, (group + 1) * out_group)
        if low < high:
            own = synapses.values[low - first : high - first]
            part = slice(group * in_group, (group + 1) * in_group)
            weights[part, :, :, : high - low] = own.transpose(1, 2, 3, 0)
    return weights.ravel()


def _flows(artifact: Artifact) -> Flows:
    routing, placement = artifact.routing, artifact.placement
    east_west, north_south = routing.hops()
    local = [placement.same_tile(source, target) for source, target in routing.pairs()]
    return Flows(
        source=routing.source,
        target=routing.target,
        charged=routing.charged,
        east_west=east_west,
        north_south=north_south,
        local=np.array(local, np.bool_),
        link_start=routing.offsets,
        links=routing.links,
    )


def _classes(
    artifact: Artifact,
    reads: list[tuple[str, int, int]],
    numbers: dict[str, Int32Array],
    conditions: dict[tuple[str, int], int],
) -> tuple[Classes, Int32Array]:
    """The classes, and the class of every source."""
    partitioned = artifact.partitioned
    listeners: dict[str, list[int]] = defaultdict(list)
    for section, (source, _, _) in enumerate(reads):
        listeners[source].append(section)
    flow_of = {pair: flow for flow, pair in enumerate(artifact.routing.pairs())}
    homes, destinations = partitioned.homes(), partitioned.destinations()
    source_class = np.zeros(sum(p.size for p in partitioned.populations), np.int32)
    known: dict[Hashable, int] = {}
    for population in partitioned.populations:
        name = population.name
        here = destinations[name]
        sections = listeners[name]
        cuts = {0, population.size}
        cuts |= {end for section in sections for end in reads[section][1:]}
        cuts |= {end for d in here for end in (d.start, d.stop)}
        cuts |= {end for start, stop, _ in homes[name] for end in (start, stop)}
        edges = sorted(cuts)
        for start, stop in itertools.pairwise(edges):
            sender = next(core for low, high, core in homes[name] if low <= start < high)
            key = (
                tuple(s for s in sections if reads[s][1] <= start and stop <= reads[s][2]),
                tuple(
                    (flow_of[sender, d.core], conditions[d.gate, d.gates_needed])
                    for d in _covering(here, start, stop)
                ),
            )
            number = known.setdefault(key, len(known))
            if isinstance(population, Input):
                source_class[start:stop] = number
            else:
                source_class[partitioned.input.size + numbers[name][start:stop]] = number
    keys: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]] = list(known)  # type: ignore[arg-type]
    return Classes(
        *_csr(sections for sections, _ in keys),
        *_csr([flow for flow, _ in entries] for _, entries in keys),
        np.array([condition for _, entries in keys for _, condition in entries], np.int32),
    ), source_class


def _covering(destinations: list[Destination], start: int, stop: int) -> list[Destination]:
    return [d for d in destinations if d.start <= start and stop <= d.stop]


def _csr(lists: Iterable[Iterable[int]]) -> tuple[Int32Array, Int32Array]:
    items = [list(entries) for entries in lists]
    starts = np.cumsum([0, *map(len, items)], dtype=np.int32)
    return starts, np.array([item for entries in items for item in entries], np.int32)


def _dtype(table: type, name: str) -> npt.DTypeLike:
    """The element type that ``table`` declares for its field ``name``."""
    declared = str(table.__annotations__[name])
    return {"Int64Array": np.int64, "BoolArray": np.bool_}.get(declared, np.int32)


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
