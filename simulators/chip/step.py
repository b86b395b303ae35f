"""The Numba kernel: one sample after the other, event by event, no Python inside."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.cost import SYNAPTIC_OPS
from mapping.ir.quantized import Int32Array
from simulators.chip.compartments import update_block, wrap32
from simulators.chip.kernel import inlined, kernel
from simulators.chip.program import ChipProgram, Int64Array
from simulators.chip.state import ChipState
from simulators.chip.synapses import add_events, deliver_due, wake

COUNTED = (
    *SYNAPTIC_OPS.values(),
    "synapse_read",
    "compartment_update",
    "spike",
    "axon_out",
    "axon_in",
    "within_tile",
    "hop_east_west",
    "hop_north_south",
    "hop_chip",
    "host_packet",
)
"""Last axis of the kernel's counts; the rest of :class:`mapping.cost.ActionCounts` is fixed."""
(
    _SYNAPTIC_OP_DENSE,
    _SYNAPTIC_OP_SPARSE,
    _SYNAPTIC_OP_CONV,
    _SYNAPSE_READ,
    _UPDATE,
    _SPIKE,
    _AXON_OUT,
    _AXON_IN,
    _WITHIN_TILE,
    _EAST_WEST,
    _NORTH_SOUTH,
    _HOP_CHIP,
    _HOST_PACKET,
) = range(len(COUNTED))


_ACTION_OF_FORM = (_SYNAPTIC_OP_DENSE, _SYNAPTIC_OP_SPARSE, _SYNAPTIC_OP_CONV)


class Record(NamedTuple):
    """What a run leaves behind.

    Attributes:
        binary: ``(samples, steps, LIF and gates)`` spikes, of gates with their sign.
        graded: ``(samples, steps, relays)`` payloads.
        states: ``(2, samples, steps, watched)`` u and v of the ``watched`` compartments.
        watched: their numbers.
        counts: ``(samples, steps, cores, len(COUNTED))``.
        busiest_link: ``(2, samples, steps)`` packets over the link that carries most, of those
            within chips and of those between chips.
        link_packets: ``(threads, links)``, all samples and steps together.
        stop: once it is set, no thread starts another sample.
    """

    binary: npt.NDArray[np.int8]
    graded: Int32Array
    states: Int32Array
    watched: Int32Array
    counts: Int32Array
    busiest_link: Int32Array
    link_packets: Int64Array
    stop: npt.NDArray[np.int8]


@kernel
def run_samples(
    program: ChipProgram,
    state: ChipState,
    payloads: npt.NDArray[np.integer[Any]],
    first: int,
    last: int,
    reset: bool,
    thread: int,
    record: Record,
) -> int:
    """Run samples ``first:last``; returns how many it completed.

    Args:
        program: the flat program.
        state: of this thread's chip.
        payloads: ``(samples, input steps, inputs)``; the steps that ``record`` has beyond are
            silent.
        first, last: range of samples.
        reset: start every sample at rest, else where the one before ended.
        thread: row of ``record.link_packets`` to write to.
        record: receives the results.
    """
    steps = record.busiest_link.shape[2]
    for sample in range(first, last):
        if record.stop[0]:
            return sample - first
        if reset:
            rest(program, state)
        for step in range(steps):
            _run_step(program, state, payloads, sample, step, thread, record)
    return last - first


@inlined
def rest(program: ChipProgram, state: ChipState) -> None:
    """Put the chip to rest: everything is zero, and only what never sleeps is awake."""
    state.memory[:] = 0
    state.inputs[:] = 0
    state.sums[:] = 0
    state.hits[:] = False
    state.flags[:] = False
    state.holds[:] = False
    state.reached[:] = False
    state.due_count[:] = 0
    state.so_far[:] = 0
    state.told[:] = 0
    state.clock[:] = 0
    state.active_count[:] = 0
    state.awake[:] = False
    for block in range(program.blocks.shape[0]):
        if program.blocks[block].always:
            wake(state, block)


@inlined
def _run_step(
    program: ChipProgram,
    state: ChipState,
    payloads: npt.NDArray[np.integer[Any]],
    sample: int,
    step: int,
    thread: int,
    record: Record,
) -> None:
    here = record.counts[sample, step]
    conditions = state.is_open.shape[0]
    if conditions:
        _check_conditions(program, state)
    deliver_due(program, state)
    sent = _update(program, state, here)
    _note(program, state, sent, sample, step, record)
    crossed = _send(program, state, sent, -1, 0, here)
    for c in range(record.watched.shape[0]):
        record.states[0, sample, step, c] = state.memory[0, record.watched[c]]
        record.states[1, sample, step, c] = state.memory[1, record.watched[c]]
    silent = step >= payloads.shape[1]
    if not silent:
        sent = _scan(payloads[sample, step], state.events, state.payloads)
        crossed = _send(program, state, sent, -1, crossed, here)
    if conditions:
        for source in range(program.inputs):
            payload = np.int64(0) if silent else np.int64(payloads[sample, step, source])
            before = state.so_far[source] if program.delta else np.int64(0)
            state.so_far[source] = wrap32(before + payload)
        for condition in range(conditions):
            sent = _held_back(program, state, condition)
            crossed = _send(program, state, sent, condition, crossed, here)
    for entry in range(crossed):
        link = state.crossed[entry]
        kind = np.int64(program.between_chips[link])
        most = max(record.busiest_link[kind, sample, step], state.loads[link])
        record.busiest_link[kind, sample, step] = most
        record.link_packets[thread, link] += state.loads[link]
        state.loads[link] = 0
    state.clock[0] += 1


@kernel
def _scan(own: npt.NDArray[np.integer[Any]], events: Int32Array, payloads: Int32Array) -> int:
    """Make events of the payloads that are not zero; returns their number."""
    sent = 0
    for source in range(own.shape[0]):
        events[sent] = source
        payloads[sent] = np.int32(own[source])
        sent += own[source] != 0
    return sent


@inlined
def _update(program: ChipProgram, state: ChipState, here: Int32Array) -> Any:
    """Update the active blocks; returns the number of events, and keeps who stays active."""
    sent, kept = 0, 0
    for entry in range(state.active_count[0]):
        block = state.active[entry]
        before = sent
        sent, updated, stays = update_block(program, state, block, sent)
        own = program.blocks[block]
        here[own.core, _UPDATE] += updated
        here[own.core, _SPIKE] += sent - before
        if stays or own.always:
            state.active[kept] = block
            kept += 1
        else:
            state.awake[block] = False
    state.active_count[0] = kept
    return sent


@inlined
def _note(
    program: ChipProgram, state: ChipState, sent: int, sample: int, step: int, record: Record
) -> None:
    """Record what compartments send."""
    for event in range(sent):
        c = state.events[event] - program.inputs
        place = program.place[c]
        if program.graded[c]:
            record.graded[sample, step, place] = state.payloads[event]
        else:
            record.binary[sample, step, place] = state.payloads[event]


@inlined
def _check_conditions(program: ChipProgram, state: ChipState) -> None:
    """Which conditions hold: all their gates were on in the step before."""
    for condition in range(state.is_open.shape[0]):
        state.is_open[condition] = True
        first, last = program.condition_start[condition], program.condition_start[condition + 1]
        for entry in range(first, last):
            on = state.memory[3, program.condition_gates[entry]] != 0
            state.is_open[condition] = state.is_open[condition] and on


@inlined
def _held_back(program: ChipProgram, state: ChipState, condition: int) -> Any:
    """Make events of what the host sends under ``condition``; returns their number."""
    sent = 0
    for source in range(program.inputs):
        wanted = state.so_far[source] if state.is_open[condition] else np.int64(0)
        payload = wrap32(wanted - state.told[condition, source])
        if program.delta:
            state.told[condition, source] = wanted
        if payload != 0:
            state.events[sent] = source
            state.payloads[sent] = payload
            sent += 1
    return sent


@kernel
def _send(
    program: ChipProgram,
    state: ChipState,
    sent: int,
    condition: int,
    crossed: int,
    here: Int32Array,
) -> Any:
    """Carry the events to every section that reads them under ``condition``, and count it.

    Returns:
        How many links have carried packets in this step; there were ``crossed`` before.
    """
    first = 0
    while first < sent:
        number = program.source_class[state.events[first]]
        last = first + 1
        while last < sent and program.source_class[state.events[last]] == number:
            last += 1
        start, stop = program.class_section_start[number], program.class_section_start[number + 1]
        for entry in range(start, stop):
            section = program.class_sections[entry]
            if program.sections[section].condition == condition:
                ops = add_events(program, state, section, first, last)
                core, form = program.sections[section].core, program.sections[section].form
                here[core, _ACTION_OF_FORM[form]] += ops
        start, stop = program.class_flow_start[number], program.class_flow_start[number + 1]
        for entry in range(start, stop):
            if program.class_condition[entry] == condition:
                flow = program.flows[program.class_flows[entry]]
                if flow.target >= 0:
                    for event in range(first, last):
                        read = program.first_read[state.events[event]] + entry - start
                        here[flow.target, _SYNAPSE_READ] += program.words_read[read]
                crossed = _carry(program, state, flow, last - first, crossed, here)
        first = last
    return crossed


@inlined
def _carry(
    program: ChipProgram, state: ChipState, flow: Any, packets: int, crossed: int, here: Int32Array
) -> Any:
    """Count ``packets`` of one flow, link by link; returns how many links have carried any."""
    here[flow.charged, _AXON_IN] += packets * (flow.target >= 0)
    here[flow.charged, _EAST_WEST] += packets * flow.east_west
    here[flow.charged, _NORTH_SOUTH] += packets * flow.north_south
    here[flow.charged, _HOP_CHIP] += packets * flow.chip
    if flow.source < 0:
        here[flow.charged, _HOST_PACKET] += packets
    else:
        here[flow.source, _AXON_OUT] += packets
        here[flow.charged, _WITHIN_TILE] += packets * flow.local
    for hop in range(flow.first_link, flow.end_link):
        link = program.links[hop]
        if state.loads[link] == 0:
            state.crossed[crossed] = link
            crossed += 1
        state.loads[link] += packets
    return crossed
