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

Table = npt.NDArray[np.void]

BLOCK_ENTRY = np.dtype(
    [
        ("start", np.int32),
        ("stop", np.int32),
        ("core", np.int32),
        ("kind", np.int32),
        ("decay_one", np.int64),
        ("decay_two", np.int64),
        ("flags", np.int32),
        ("always", np.bool_),
    ]
)
"""A block: compartments ``start:stop`` of one kind on one core.

``decay_one`` and ``decay_two`` are the parts of 4096 that u and v of LIF compartments, or gain and
trace of gates, lose per step. ``always`` marks those that are updated in every step.
"""

SECTION_ENTRY = np.dtype(
    [
        ("core", np.int32),
        ("rows", np.int64),
        ("target", np.int32),
        ("first_block", np.int32),
        ("first_column", np.int32),
        ("form", np.int32),
        ("control", np.int32),
        ("graded", np.bool_),
        ("weight_shift", np.int32),
        ("exponent", np.int32),
        ("condition", np.int32),
        ("slots", np.int64),
        ("first_slot", np.int64),
        ("first_delay", np.int64),
        ("first_sum", np.int64),
        ("first_flag", np.int64),
        ("first_weight", np.int64),
        ("first_start", np.int64),
        ("first_entry_row", np.int64),
        ("convolution", np.int32),
    ]
)
"""A section; its ``rows`` begin at the compartment ``target``.

It has a sum for each row and slot, a slot for each step in which spikes can arrive at once, and a
flag for each slot and ``BLOCK`` rows that says whether something has been added. The weights of
column ``c`` are a run of ``rows`` mantissas if it is dense, entries ``starts[first_start + c]`` to
the next of ``weights`` and ``entry_rows`` if it is sparse, and as :data:`CONVOLUTION_ENTRY` says
otherwise. ``condition`` is the number of the one under which the host sends, or -1.
"""

CONVOLUTION_ENTRY = np.dtype(
    [
        ("plane", np.int32),
        ("out_plane", np.int32),
        ("kernel", np.int32),
        ("in_group", np.int32),
        ("out_group", np.int32),
        ("first_channel", np.int32),
        ("run", np.int32),
        ("first_position", np.int64),
        ("first_place", np.int64),
    ]
)
"""Geometry of a convolutional section: places per channel of the input, positions per channel of
the output, and places in the ``kernel``.

Of each output position, numbered from ``first_position`` on, the section holds the channels
``lowest_channel`` to before ``highest_channel``, in rows from ``position_row`` on. The weights of
an input channel and kernel place lie together, ``run`` of them, from the first channel of the group
on that the section holds. An input place, numbered from ``first_place`` on, has the entries
``tap_starts`` to the next: it is seen by the output position ``tap_positions`` through the kernel
place ``taps``.
"""

FLOW_ENTRY = np.dtype(
    [
        ("source", np.int32),
        ("target", np.int32),
        ("charged", np.int32),
        ("east_west", np.int32),
        ("north_south", np.int32),
        ("chip", np.int32),
        ("local", np.bool_),
        ("first_link", np.int32),
        ("end_link", np.int32),
    ]
)
"""A flow: its ends (-1 is the host), hops, whether it stays in a tile, and its ``links``.

``charged`` is the core to which the network's work belongs; ``chip`` counts hops between chips.
"""


class ChipProgram(NamedTuple):
    """A whole program; ``inputs`` sources precede the compartments.

    Attributes:
        inputs, cores: their numbers.
        delta: whether the input is coded by changes.
        blocks, sections, convolutions, flows: tables of the entries above.
        threshold, bias: of each compartment; setting: the gates that a relay needs, or the trace
            threshold of a gate.
        place: where the spikes of a compartment are recorded, among those that are ``graded``,
            relays, or the others.
        source_class, source_column: of each source its class and its number in its population.
        class_section_start, class_sections: CSR list of the sections that a class reaches.
        class_flow_start, class_flows, class_condition: CSR list of the flows that carry its
            packets, each under the condition of the host that :data:`SECTION_ENTRY` explains.
        condition_start, condition_gates: CSR list of the gates, as compartments, that must be on
            for each condition.
        links: of all flows.
        weights: mantissas of all sections; starts, entry_rows: of sparse ones.
        lowest_channel, highest_channel, position_row, tap_starts, taps, tap_positions: of
            convolutional ones.
        delays: axonal delays of the columns of sections that have any.
    """

    inputs: int
    cores: int
    delta: bool
    blocks: Table
    sections: Table
    convolutions: Table
    flows: Table
    threshold: Int32Array
    bias: Int32Array
    setting: Int32Array
    place: Int32Array
    graded: BoolArray
    source_class: Int32Array
    source_column: Int32Array
    class_section_start: Int32Array
    class_sections: Int32Array
    class_flow_start: Int32Array
    class_flows: Int32Array
    class_condition: Int32Array
    condition_start: Int32Array
    condition_gates: Int32Array
    links: Int32Array
    weights: Int8Array
    starts: Int64Array
    entry_rows: Int32Array
    lowest_channel: Int32Array
    highest_channel: Int32Array
    position_row: Int32Array
    tap_starts: Int32Array
    taps: Int32Array
    tap_positions: Int32Array
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
        tables = (
            program.weights,
            program.starts,
            program.entry_rows,
            program.delays,
            program.lowest_channel,
            program.highest_channel,
            program.position_row,
            program.tap_starts,
            program.taps,
            program.tap_positions,
        )
        return sum(int(table.nbytes) for table in tables)


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
    builder.collect()
    own = partitioned.input
    columns = np.zeros(own.size + sum(n.size for n in numbers.values()), np.int32)
    columns[: own.size] = np.arange(own.size)
    for number in numbers.values():
        columns[own.size + number] = np.arange(number.size)
    condition_start, condition_gates = _csr(numbers[gate][:needed] for gate, needed in conditions)
    program = ChipProgram(
        inputs=own.size,
        cores=len(partitioned.cores),
        delta=own.delta,
        blocks=_blocks(partitioned, pieces),
        sections=_table(builder.rows, SECTION_ENTRY),
        convolutions=_table(builder.convolutions, CONVOLUTION_ENTRY),
        flows=_flows(artifact),
        **_compartments(partitioned, numbers, places, price),
        **_classes(artifact, builder.reads, numbers, numbers_of),
        source_column=columns,
        condition_start=condition_start,
        condition_gates=condition_gates,
        links=artifact.routing.links,
        weights=_joined(builder.weights, np.int8),
        starts=_joined(builder.starts, np.int64),
        entry_rows=_joined(builder.entry_rows, np.int32),
        lowest_channel=_joined(builder.lowest, np.int32),
        highest_channel=_joined(builder.highest, np.int32),
        position_row=_joined(builder.position_rows, np.int32),
        tap_starts=_joined(builder.tap_starts, np.int32),
        taps=_joined(builder.taps, np.int32),
        tap_positions=_joined(builder.tap_positions, np.int32),
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


def _blocks(partitioned: PartitionedNetwork, pieces: list[_Piece]) -> Table:
    rows: list[tuple[int, ...]] = []
    for piece in pieces:
        population = partitioned.population(piece.group.population)
        for start in range(0, piece.group.size, BLOCK):
            stop = min(start + BLOCK, piece.group.size)
            own = piece.group.start + piece.order[start:stop]
            rows.append(
                (piece.first + start, piece.first + stop, piece.core, *_of_kind(population, own))
            )
    return np.array(rows, BLOCK_ENTRY)


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
) -> dict[str, npt.NDArray[Any]]:
    """The fields of the program that have an entry per compartment."""
    total = sum(own.size for own in numbers.values())
    fields = ("threshold", "bias", "setting", "place")
    table: dict[str, npt.NDArray[Any]] = {name: np.zeros(total, np.int32) for name in fields}
    table["graded"] = np.zeros(total, np.bool_)
    for population in partitioned.populations:
        if isinstance(population, Input):
            continue
        own = numbers[population.name]
        table["place"][own] = np.arange(own.size) + places[population.name].start
        match population:
            case IntegerLif():
                table["threshold"][own] = population.threshold << STATE_SHIFT
                table["bias"][own] = population.bias_mantissa << population.bias_exponent
            case IntegerRelay():
                table["threshold"][own] = population.threshold
                table["bias"][own] = population.bias
                table["setting"][own] = population.needed
                table["graded"][own] = True
            case IntegerGate():
                table["threshold"][own] = population.thresholds(price)
                table["setting"][own] = population.trace_threshold
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
    convolutions: list[dict[str, int]] = field(default_factory=list)
    lowest: list[Int64Array] = field(default_factory=list)
    highest: list[Int64Array] = field(default_factory=list)
    position_rows: list[Int64Array] = field(default_factory=list)
    tap_starts: list[Int64Array] = field(default_factory=list)
    taps: list[Int64Array] = field(default_factory=list)
    tap_positions: list[Int64Array] = field(default_factory=list)
    first_place: dict[ConvShape, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def collect(self) -> None:
        """Add a section for every piece that a tile ends on."""
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
            "first_sum": self._take("sums", slots * rows),
            "first_flag": self._take("flags", slots * blocks),
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
        run = min(out_group, last - first)
        position = np.arange(conv.plane)
        lowest = -((position - synapses.start) // conv.plane)
        highest = -((position - synapses.stop) // conv.plane)
        counts = highest - lowest
        if conv not in self.first_place:
            self.first_place[conv] = self._add_taps(conv)
        self.convolutions.append(
            {
                "plane": conv.inputs[1] * conv.inputs[2],
                "out_plane": conv.plane,
                "kernel": conv.kernel[0] * conv.kernel[1],
                "in_group": in_group,
                "out_group": out_group,
                "first_channel": first,
                "run": run,
                "first_position": self._take("positions", conv.plane),
                "first_place": self.first_place[conv],
            }
        )
        self.lowest.append(lowest)
        self.highest.append(highest)
        self.position_rows.append(np.cumsum(counts) - counts)
        return _channels_last(synapses, conv, first, last, run)

    def _add_taps(self, conv: ConvShape) -> int:
        """List what sees each input place; returns the number of the first."""
        tap, output, source = (
            np.concatenate(parts)
            for parts in zip(
                *(
                    (np.full(source.size, y * conv.kernel[1] + x), output, source)
                    for y, x, output, source in conv.taps()
                ),
                strict=True,
            )
        )
        order = np.argsort(source, kind="stable")
        plane = conv.inputs[1] * conv.inputs[2]
        first_tap = self._take("taps", source.size)
        self.taps.append(tap[order])
        self.tap_positions.append(output[order])
        self.tap_starts.append(first_tap + np.searchsorted(source[order], np.arange(plane + 1)))
        return self._take("places", plane + 1)


def _channels_last(
    synapses: ConvSynapses, conv: ConvShape, first: int, last: int, run: int
) -> Int8Array:
    """``(input channels, *kernel, run)`` mantissas, flat."""
    in_group, out_group = conv.inputs[0] // conv.groups, conv.out_channels // conv.groups
    weights = np.zeros((conv.inputs[0], *conv.kernel, run), np.int8)
    for group in range(conv.groups):
        low, high = max(first, group * out_group), min(last, (group + 1) * out_group)
        if low < high:
            own = synapses.values[low - first : high - first]
            part = slice(group * in_group, (group + 1) * in_group)
            weights[part, :, :, : high - low] = own.transpose(1, 2, 3, 0)
    return weights.ravel()


def _flows(artifact: Artifact) -> Table:
    routing, placement = artifact.routing, artifact.placement
    hops = routing.hops(artifact.chip.mesh)
    table = np.zeros(routing.flows, FLOW_ENTRY)
    table["source"], table["target"] = routing.source, routing.target
    table["charged"] = routing.charged
    table["east_west"], table["north_south"] = hops.east_west, hops.north_south
    table["chip"] = hops.chip
    table["local"] = [placement.same_tile(source, target) for source, target in routing.pairs()]
    table["first_link"], table["end_link"] = routing.offsets[:-1], routing.offsets[1:]
    return table


def _classes(
    artifact: Artifact,
    reads: list[tuple[str, int, int]],
    numbers: dict[str, Int32Array],
    conditions: dict[tuple[str, int], int],
) -> dict[str, npt.NDArray[Any]]:
    """The fields of the program that tell of classes."""
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
    section_start, sections_of = _csr(sections for sections, _ in keys)
    flow_start, flows = _csr([flow for flow, _ in entries] for _, entries in keys)
    conditions_of = [condition for _, entries in keys for _, condition in entries]
    return {
        "source_class": source_class,
        "class_section_start": section_start,
        "class_sections": sections_of,
        "class_flow_start": flow_start,
        "class_flows": flows,
        "class_condition": np.array(conditions_of, np.int32),
    }


def _covering(destinations: list[Destination], start: int, stop: int) -> list[Destination]:
    return [d for d in destinations if d.start <= start and stop <= d.stop]


def _csr(lists: Iterable[Iterable[int]]) -> tuple[Int32Array, Int32Array]:
    items = [list(entries) for entries in lists]
    starts = np.cumsum([0, *map(len, items)], dtype=np.int32)
    return starts, np.array([item for entries in items for item in entries], np.int32)


def _table(rows: list[dict[str, int]], entry: np.dtype[np.void]) -> Table:
    return np.array([tuple(row[name] for name in entry.names or ()) for row in rows], entry)


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
