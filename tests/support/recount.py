"""Action counts of a trace, from spikes and states alone, compartment by compartment."""

from __future__ import annotations

import numpy as np
from support.full import full
from support.integer_networks import Case, delivered, reached

from mapping.ir.partitioned import SynapseTile
from mapping.ir.quantized import IntegerGate, IntegerLif, IntegerRelay, ProjectionSpec
from mapping.ir.routed import DIRECTIONS
from mapping.ir.synapses import ConvSynapses
from mapping.semantics.int_net import IntegerTrace
from mapping.targets.spec import CoreSpec, MeshSpec
from simulators.trace import ExecutionTrace


def assert_counts_are_right(case: Case, trace: ExecutionTrace) -> None:
    """Every count of ``trace``, which has u and v, is that of a recount."""
    assert trace.counts is not None
    recount = _recount(case, trace)
    for name, values in trace.counts.items():
        np.testing.assert_array_equal(values, recount[name], name)
    packets = recount["link"]
    np.testing.assert_array_equal(trace.link_packets, packets.sum(axis=(0, 1)))
    leaves = _leave_their_chip(case.artifact.chip.mesh)
    np.testing.assert_array_equal(trace.busiest_link, (packets * ~leaves).max(axis=-1))
    np.testing.assert_array_equal(trace.busiest_chip_link, (packets * leaves).max(axis=-1))


def _leave_their_chip(mesh: MeshSpec) -> np.ndarray:
    """``(links,)`` whether a link ends on another chip."""
    found = []
    for row in range(mesh.rows):
        for column in range(mesh.columns):
            for east, south in DIRECTIONS:
                here = (column // mesh.width, row // mesh.height)
                there = ((column + east) // mesh.width, (row + south) // mesh.height)
                found.append(here != there)
    return np.array(found)


def _words_read(tile: SynapseTile, spec: ProjectionSpec, rows: np.ndarray, core: CoreSpec) -> int:
    """Words of the lists that a spike reads whose synapses end on ``rows`` of ``tile``."""
    held = tile.synapses.shape[0]

    def words(length: int) -> int:
        return core.words_per_axon(
            length,
            spec.weight_bits,
            targets=0 if spec.form == "dense" else held,
            delay=max(spec.delays, default=0),
        )

    if not isinstance(tile.synapses, ConvSynapses):
        return words(rows.size)
    conv = tile.synapses.conv
    share = conv.out_channels // conv.groups
    channels, positions = np.divmod(tile.synapses.outputs, conv.plane)
    lists = {(channels[row] // share, positions[row]) for row in rows}
    on_core = set(channels.tolist())
    return sum(words(len({c for c in on_core if c // share == group})) for group, _ in lists)


def _recount(case: Case, trace: ExecutionTrace) -> dict[str, np.ndarray]:
    """Counts by name, and ``link``: ``(samples, steps, links)`` packets over each link."""
    artifact = case.artifact
    partitioned, slots = artifact.partitioned, artifact.placement.slots
    samples, steps = case.payloads.shape[:2]
    counts = {
        name: np.zeros((samples, steps, len(partitioned.cores)), int)
        for name, _ in trace.counts.items()
    }
    mesh, routing = artifact.chip.mesh, artifact.routing
    flow_of = {ends: flow for flow, ends in enumerate(routing.pairs())}
    counts["link"] = np.zeros((samples, steps, 4 * mesh.columns * mesh.rows), int)
    core_of = {
        (group.population, index): core
        for core, program in enumerate(partitioned.cores)
        for group in program.groups
        for index in group.members.tolist()
    }
    listeners: dict[tuple[str, int], set[tuple[int, str, int]]] = {}
    for core, program in enumerate(partitioned.cores):
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            mantissas = tile.synapses.values
            present = full(tile.synapses.with_values(np.ones(mantissas.shape, np.int8)))
            for column in np.flatnonzero(present.any(axis=0)):
                index, rows = spec.source_start + int(column), int(present[:, column].sum())
                condition = spec.gate, spec.gates_needed
                spikes = _sent(case, trace, spec.source, *condition)[..., index] != 0
                counts[f"synaptic_op_{spec.form}"][..., core] += spikes * rows
                ends = np.flatnonzero(present[:, column])
                words = _words_read(tile, spec, ends, artifact.chip.core)
                counts["synapse_read"][..., core] += spikes * words
                way = (core, *condition)
                listeners.setdefault((spec.source, index), set()).add(way)
    reporting = {spec.gate for spec in partitioned.projections if spec.gate}
    for name, index in core_of:
        if name in reporting:
            listeners.setdefault((name, index), set()).add((-1, "", 0))
    for (name, index), core in core_of.items():
        counts["compartment_access"][..., core] += 1
        counts["spike"][..., core] += trace.spikes[name][..., index] != 0
        counts["compartment_update"][..., core] += _updated(case, trace, name)[..., index]
    for (name, index), ways in listeners.items():
        for core, gate, needed in ways:
            spikes = _sent(case, trace, name, gate, needed)[..., index] != 0
            sender = core_of.get((name, index), -1)
            payer = sender if core < 0 else core
            from_x, from_y = slots[sender].tile(mesh) if sender >= 0 else mesh.host_tile
            to_x, to_y = slots[core].tile(mesh) if core >= 0 else mesh.host_tile
            borders_x = abs(to_x // mesh.width - from_x // mesh.width)
            borders_y = abs(to_y // mesh.height - from_y // mesh.height)
            counts["axon_in"][..., payer] += spikes * (core >= 0)
            if sender < 0:
                counts["host_packet"][..., payer] += spikes
            else:
                counts["axon_out"][..., sender] += spikes
                near = core >= 0 and (from_x, from_y) == (to_x, to_y)
                counts["within_tile"][..., payer] += spikes * near
            counts["hop_east_west"][..., payer] += spikes * (abs(to_x - from_x) - borders_x)
            counts["hop_north_south"][..., payer] += spikes * (abs(to_y - from_y) - borders_y)
            counts["hop_chip"][..., payer] += spikes * (borders_x + borders_y)
            for link in routing.path(flow_of[sender, core]):
                counts["link"][..., link] += spikes
    return counts


def _open(trace: ExecutionTrace, gate: str, needed: int) -> np.ndarray:
    """``(samples, steps)`` whether the host may send, by the gates' events of the steps before."""
    any_trace = next(iter(trace.spikes.values()))
    if not gate:
        return np.ones(any_trace.shape[:2], bool)
    on = np.zeros(trace.spikes[gate].shape, bool)
    on[:, 1:] = np.cumsum(trace.spikes[gate], axis=1)[:, :-1] > 0
    return on[..., :needed].all(axis=-1)


def _sent(case: Case, trace: ExecutionTrace, name: str, gate: str, needed: int) -> np.ndarray:
    """``(samples, steps, size)`` what a population sends, by the gates that hold it back."""
    if name != "in":
        return trace.spikes[name]
    if not gate:
        return case.payloads
    is_open = _open(trace, gate, needed)[..., None]
    if not case.artifact.network.input.delta:
        return case.payloads * is_open
    told = np.cumsum(case.payloads, axis=1).astype(np.int32) * is_open
    return np.diff(told, axis=1, prepend=np.int32(0)).astype(np.int32)


def _updated(case: Case, trace: ExecutionTrace, name: str) -> np.ndarray:
    population = case.artifact.network.population(name)
    ways = {(p.spec.gate, p.spec.gates_needed) for p in case.artifact.network.projections}
    held_back = {way: _sent(case, trace, "in", *way) for way in ways if way[0]}
    ran = IntegerTrace(spikes=trace.spikes, u={}, v={}, updated={}, held_back=held_back)
    signal, control = (
        delivered(case, ran, name, port).astype(np.int32) for port in ("signal", "control")
    )
    busy = reached(case, ran, name) | (trace.spikes[name] != 0)
    match population:
        case IntegerLif():
            busy |= population.bias_mantissa != 0
            busy[:, 1:] |= trace.v[name][:, :-1] != 0
            if population.du < 4095:
                busy[:, 1:] |= trace.u[name][:, :-1] != 0
        case IntegerRelay():
            busy |= population.bias != 0
        case IntegerGate():
            for values, parts, limit in (
                (signal, population.gain_decay, 2**23 - 1),
                (control, population.trace_decay, 2**31),
            ):
                busy[:, 1:] |= _leaky_sum(values, parts, limit)[:, :-1] != 0
    return busy


def _leaky_sum(values: np.ndarray, parts: int, limit: int) -> np.ndarray:
    """Running sum along the steps that loses ``parts`` of 4096 per step, towards zero."""
    sums = np.zeros(values.shape, np.int64)
    held = np.zeros(values[:, 0].shape, np.int64)
    for step in range(values.shape[1]):
        kept = np.sign(held) * (np.abs(held) * (4096 - parts) // 4096)
        held = (kept + values[:, step]).astype(np.int32).astype(np.int64)
        held = np.clip(held, -limit, limit)
        sums[:, step] = held
    return sums
