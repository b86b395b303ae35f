"""Lay a compiled program out as flat arrays, ready for the kernels.

Sources are the inputs followed by the compartments. Compartments are numbered core by core in
*pieces*: runs of one population on one core that every synapse tile covers whole or not at all.
Within a piece they follow each other as in the population; where a convolution ends there, by
position first and channel second, so that a spike reaches neighbours. A *section* is the part of a
tile that ends on one piece, a *block* so many compartments of a piece as are updated together, and
sources that reach the same sections over the same flows form a *class*.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.artifact.schema import Artifact
from mapping.ir.network import Input
from mapping.ir.partitioned import Members, PartitionedNetwork
from mapping.ir.quantized import (
    Int32Array,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerRelay,
)
from mapping.ir.routed import between_chips
from mapping.semantics.fixedpoint import STATE_SHIFT
from simulators.chip.program import (
    BLOCK,
    BLOCK_ENTRY,
    CONVOLUTION_ENTRY,
    DELTA,
    FLOW_ENTRY,
    GATE,
    LIF,
    RECTIFIED,
    RELAY,
    SECTION_ENTRY,
    SIGMA,
    ChipProgram,
    Int64Array,
    Table,
)
from simulators.chip.sections import Piece, SectionTables, joined, table_of


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
    partitioned, mesh = artifact.partitioned, artifact.chip.mesh
    found = {(spec.gate, spec.gates_needed) for spec in partitioned.projections if spec.gate}
    conditions = sorted(found)
    numbers_of = {("", 0): -1} | {condition: number for number, condition in enumerate(conditions)}
    pieces = _pieces(partitioned)
    numbers = _numbers(partitioned, pieces)
    places = _places(partitioned)
    builder = SectionTables(partitioned=partitioned, pieces=pieces, conditions=numbers_of)
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
        sections=table_of(builder.rows, SECTION_ENTRY),
        convolutions=table_of(builder.convolutions, CONVOLUTION_ENTRY),
        flows=_flows(artifact),
        **_compartments(partitioned, numbers, places, price),
        **_classes(artifact, builder.reads, numbers, numbers_of),
        source_column=columns,
        condition_start=condition_start,
        condition_gates=condition_gates,
        links=artifact.routing.links,
        between_chips=between_chips(np.arange(4 * mesh.columns * mesh.rows, dtype=np.int32), mesh),
        weights=joined(builder.weights, np.int8),
        starts=joined(builder.starts, np.int64),
        entry_rows=joined(builder.entry_rows, np.int32),
        lowest_channel=joined(builder.lowest, np.int32),
        highest_channel=joined(builder.highest, np.int32),
        position_row=joined(builder.position_rows, np.int32),
        tap_starts=joined(builder.tap_starts, np.int32),
        taps=joined(builder.taps, np.int32),
        tap_positions=joined(builder.tap_positions, np.int32),
        delays=joined(builder.delays, np.uint8),
    )
    per_core = np.array([program.compartments for program in partitioned.cores], np.int64)
    return Layout(program=program, numbers=numbers, places=places, per_core=per_core)


def _pieces(partitioned: PartitionedNetwork) -> list[Piece]:
    shapes = {s.target: s.conv for s in partitioned.projections if s.conv is not None}
    found: list[Piece] = []
    first = first_block = 0
    for core in range(len(partitioned.cores)):
        for group in partitioned.pieces(core):
            order = np.arange(group.size)
            if group.population in shapes:
                position = group.members % shapes[group.population].plane
                order = np.argsort(position, kind="stable")
            found.append(
                Piece(core=core, group=group, first=first, first_block=first_block, order=order)
            )
            first += group.size
            first_block += -(-group.size // BLOCK)
    return found


def _numbers(partitioned: PartitionedNetwork, pieces: list[Piece]) -> dict[str, Int32Array]:
    numbers = {
        p.name: np.zeros(p.size, np.int32)
        for p in partitioned.populations
        if not isinstance(p, Input)
    }
    for piece in pieces:
        own = numbers[piece.group.population]
        own[piece.group.members[piece.order]] = piece.first + np.arange(piece.group.size)
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


def _blocks(partitioned: PartitionedNetwork, pieces: list[Piece]) -> Table:
    rows: list[tuple[int, ...]] = []
    for piece in pieces:
        population = partitioned.population(piece.group.population)
        members = piece.group.members[piece.order]
        for start in range(0, piece.group.size, BLOCK):
            stop = min(start + BLOCK, piece.group.size)
            kind = _of_kind(population, members[start:stop])
            rows.append((piece.first + start, piece.first + stop, piece.core, *kind))
    return np.array(rows, BLOCK_ENTRY)


def _of_kind(population: IntegerPopulation, own: Members) -> tuple[int, int, int, int, int]:
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
    reads: list[tuple[str, Members]],
    numbers: dict[str, Int32Array],
    conditions: dict[tuple[str, int], int],
) -> dict[str, npt.NDArray[Any]]:
    """The fields of the program that tell of classes."""
    partitioned = artifact.partitioned
    listeners: dict[str, list[int]] = defaultdict(list)
    for section, (source, _) in enumerate(reads):
        listeners[source].append(section)
    flow_of = {pair: flow for flow, pair in enumerate(artifact.routing.pairs())}
    source_class = np.zeros(sum(p.size for p in partitioned.populations), np.int32)
    nothing = np.zeros(0, np.int64)
    sends: list[tuple[Int64Array, Int64Array, Int64Array]] = [(nothing, nothing, nothing)]
    known: dict[Hashable, int] = {}
    for population in partitioned.populations:
        name = population.name
        home, here, sections = (
            partitioned.homes[name],
            partitioned.destinations[name],
            listeners[name],
        )
        masks = [_mask(members, population.size) for members in (reads[s][1] for s in sections)]
        sent = [_mask(d.members, population.size) for d in here]
        first, alike = _alike(home, masks + sent)
        own = np.zeros(first.size, np.int32)
        for kind, example in enumerate(first.tolist()):
            key = (
                tuple(s for s, mask in zip(sections, masks, strict=True) if mask[example]),
                tuple(
                    (flow_of[int(home[example]), d.core], conditions[d.gate, d.gates_needed])
                    for d, mask in zip(here, sent, strict=True)
                    if mask[example]
                ),
            )
            own[kind] = known.setdefault(key, len(known))
        sources: Int64Array = np.arange(population.size)
        if not isinstance(population, Input):
            sources = np.int64(partitioned.input.size) + numbers[name]
        source_class[sources] = own[alike]
        for place, (d, mask) in enumerate(zip(here, sent, strict=True)):
            words = partitioned.per_packet(
                name, d, lambda tile, spec: tile.words_read(spec, artifact.chip.core)
            )
            sends.append((sources[mask], np.full(words.size, place), words))
    keys: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]] = list(known)  # type: ignore[arg-type]
    section_start, sections_of = _csr(sections for sections, _ in keys)
    flow_start, flows = _csr([flow for flow, _ in entries] for _, entries in keys)
    conditions_of = [condition for _, entries in keys for _, condition in entries]
    senders, places, reads_of = map(np.concatenate, zip(*sends, strict=True))
    per_source = np.bincount(senders, minlength=source_class.size)
    return {
        "first_read": np.cumsum(per_source) - per_source,
        "words_read": reads_of[np.lexsort((places, senders))].astype(np.int32),
        "source_class": source_class,
        "class_section_start": section_start,
        "class_sections": sections_of,
        "class_flow_start": flow_start,
        "class_flows": flows,
        "class_condition": np.array(conditions_of, np.int32),
    }


def _mask(members: Members, size: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(size, np.bool_)
    mask[members] = True
    return mask


def _alike(
    home: Int32Array, masks: list[npt.NDArray[np.bool_]]
) -> tuple[Int64Array, npt.NDArray[np.intp]]:
    """Compartments that share their home and all ``masks``: the first of each kind, and the kinds.

    Kinds are numbered by their first compartment.
    """
    kind: npt.NDArray[np.intp] = np.unique(home, return_inverse=True)[1]
    for mask in masks:
        if mask.any() and not mask.all():
            kind = np.unique(2 * kind + mask, return_inverse=True)[1]
    _, first, alike = np.unique(kind, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.sort(first).astype(np.int64), rank[alike]


def _csr(lists: Iterable[Iterable[int]]) -> tuple[Int32Array, Int32Array]:
    items = [list(entries) for entries in lists]
    starts = np.cumsum([0, *map(len, items)], dtype=np.int32)
    return starts, np.array([item for entries in items for item in entries], np.int32)
