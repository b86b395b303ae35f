"""Numba kernels for synapses: add what a spike brings, and deliver the sums of a step.

Sums are kept modulo 2**32 in units of mantissas; shifts follow when a complete sum is delivered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapping.ir.quantized import Int8Array, Int32Array
from simulators.chip.kernel import inlined, kernel
from simulators.chip.program import BLOCK, CONV, DENSE, BoolArray, ChipProgram
from simulators.chip.state import ChipState


@kernel
def deliver_due(program: ChipProgram, state: ChipState) -> None:
    """Turn what is due in this step into inputs, and wake the blocks that get any."""
    ring = state.due_count.shape[0]
    now = state.clock[0] % ring
    for entry in range(state.due_count[now]):
        _deliver(program, state, state.due[now, entry])
    state.due_count[now] = 0


@inlined
def _deliver(program: ChipProgram, state: ChipState, section: int) -> None:
    own = program.sections[section]
    slot = state.clock[0] % own.slots
    state.holds[own.first_slot + slot] = False
    blocks = (own.rows + BLOCK - 1) // BLOCK
    first_flag = own.first_flag + slot * blocks
    first_sum = own.first_sum + slot * own.rows
    for number in range(blocks):
        if not state.flags[first_flag + number]:
            continue
        state.flags[first_flag + number] = False
        start = number * BLOCK
        length = min(np.int64(BLOCK), own.rows - start)
        first = own.target + start
        _move(
            state.sums[first_sum + start : first_sum + start + length],
            state.inputs[own.control, first : first + length],
            own.weight_shift,
            own.exponent,
        )
        if own.form == DENSE:
            state.reached[first : first + length] = True
        else:
            _reach(
                state.hits[first_sum + start : first_sum + start + length],
                state.reached[first : first + length],
            )
        wake(state, own.first_block + number)


@kernel
def _move(sums: Int32Array, inputs: Int32Array, weight_shift: int, exponent: int) -> None:
    """Add complete sums, shifted, to inputs, and clear them."""
    left, right = max(exponent, 0), max(-exponent, 0)
    for i in range(sums.shape[0]):
        total = np.int64(np.int32(np.int64(sums[i]) << weight_shift))
        inputs[i] += np.int32((total << left) >> right)
        sums[i] = 0


@kernel
def _reach(hits: BoolArray, reached: BoolArray) -> None:
    """Note which compartments a spike has reached, and forget the hits."""
    for i in range(hits.shape[0]):
        reached[i] |= hits[i]
        hits[i] = False


@inlined
def wake(state: ChipState, block: int) -> None:
    """Have ``block`` updated in this step."""
    if not state.awake[block]:
        state.awake[block] = True
        state.active[state.active_count[0]] = block
        state.active_count[0] += 1


@inlined
def add_events(program: ChipProgram, state: ChipState, section: int, first: int, last: int) -> Any:
    """Add what the events ``first:last`` bring to ``section``; returns the synapses read."""
    own = program.sections[section]
    total = np.int64(0)
    if own.first_delay < 0:
        slot = _open_slot(state, own, section, 0)
        total = _add(program, state, section, slot, first, last)
    else:
        for event in range(first, last):
            column = program.source_column[state.events[event]] - own.first_column
            slot = _open_slot(state, own, section, program.delays[own.first_delay + column])
            total += _add(program, state, section, slot, event, event + 1)
    return total


@inlined
def _add(
    program: ChipProgram, state: ChipState, section: int, slot: int, first: int, last: int
) -> Any:
    """Add what the events ``first:last`` bring to one slot; returns the synapses read."""
    own = program.sections[section]
    blocks = (own.rows + BLOCK - 1) // BLOCK
    first_sum, first_flag = own.first_sum + slot * own.rows, own.first_flag + slot * blocks
    sums = state.sums[first_sum : first_sum + own.rows]
    hits = state.hits[first_sum : first_sum + own.rows]
    flags = state.flags[first_flag : first_flag + blocks]
    events, payloads = state.events[first:last], state.payloads[first:last]
    weights, column_of = program.weights[own.first_weight :], program.source_column
    if own.form == DENSE:
        _add_dense(sums, weights, column_of, own.first_column, events, payloads, own.graded)
        flags[:] = True
        return own.rows * (last - first)
    if own.form == CONV:
        conv = program.convolutions[own.convolution]
        last_position = conv.first_position + conv.out_plane
        return _add_conv(
            sums,
            hits,
            flags,
            weights,
            conv,
            program.lowest_channel[conv.first_position : last_position],
            program.highest_channel[conv.first_position : last_position],
            program.position_row[conv.first_position : last_position],
            program.tap_starts,
            program.taps,
            program.tap_positions,
            column_of,
            events,
            payloads,
            own.graded,
        )
    total = np.int64(0)
    starts = program.starts[own.first_start :]
    targets = program.entry_rows[own.first_entry_row :]
    for event in range(events.shape[0]):
        column = np.int64(column_of[events[event]] - own.first_column)
        payload = payloads[event] if own.graded else np.int32(1)
        for entry in range(starts[column], starts[column + 1]):
            row = targets[entry]
            sums[row] += np.int32(payload * np.int32(weights[entry]))
            hits[row] = True
            flags[row // BLOCK] = True
        total += starts[column + 1] - starts[column]
    return total


@kernel
def _add_dense(
    sums: Int32Array,
    weights: Int8Array,
    column_of: Int32Array,
    first_column: int,
    events: Int32Array,
    payloads: Int32Array,
    graded: bool,
) -> None:
    """Add the columns of all ``events`` to the sums of all rows, four of them at once."""
    rows = sums.shape[0]
    event, one = 0, np.int32(1)
    while event + 4 <= events.shape[0]:
        a = np.int64(column_of[events[event]] - first_column) * rows
        b = np.int64(column_of[events[event + 1]] - first_column) * rows
        c = np.int64(column_of[events[event + 2]] - first_column) * rows
        d = np.int64(column_of[events[event + 3]] - first_column) * rows
        w_a, w_b = weights[a : a + rows], weights[b : b + rows]
        w_c, w_d = weights[c : c + rows], weights[d : d + rows]
        p_a = payloads[event] if graded else one
        p_b = payloads[event + 1] if graded else one
        p_c = payloads[event + 2] if graded else one
        p_d = payloads[event + 3] if graded else one
        for row in range(rows):
            pair_ab = np.int32(p_a * np.int32(w_a[row])) + np.int32(p_b * np.int32(w_b[row]))
            pair_cd = np.int32(p_c * np.int32(w_c[row])) + np.int32(p_d * np.int32(w_d[row]))
            sums[row] += np.int32(pair_ab + pair_cd)
        event += 4
    while event < events.shape[0]:
        a = np.int64(column_of[events[event]] - first_column) * rows
        w_a = weights[a : a + rows]
        p_a = payloads[event] if graded else one
        for row in range(rows):
            sums[row] += np.int32(p_a * np.int32(w_a[row]))
        event += 1


@inlined
def _open_slot(state: ChipState, own: Any, section: int, delay: int) -> Any:
    """The slot of a section for spikes with ``delay``, on the list of those that are due then."""
    arrival = state.clock[0] + 1 + delay
    slot = arrival % own.slots
    if not state.holds[own.first_slot + slot]:
        state.holds[own.first_slot + slot] = True
        then = arrival % state.due_count.shape[0]
        state.due[then, state.due_count[then]] = section
        state.due_count[then] += 1
    return slot


@kernel
def _add_conv(
    sums: Int32Array,
    hits: BoolArray,
    flags: BoolArray,
    weights: Int8Array,
    conv: Any,
    lowest: Int32Array,
    highest: Int32Array,
    position_row: Int32Array,
    tap_starts: Int32Array,
    taps: Int32Array,
    tap_positions: Int32Array,
    column_of: Int32Array,
    events: Int32Array,
    payloads: Int32Array,
    graded: bool,
) -> Any:
    """Add a run of neighbouring channels at each output position that sees one of the events."""
    total, one = np.int64(0), np.int32(1)
    plane, run, held = np.uint32(conv.plane), np.int64(conv.run), np.int64(conv.first_channel)
    width = np.uint32(conv.width)
    channel_size = conv.kernel * run
    in_group, out_group = np.uint32(conv.in_group), np.int64(conv.out_group)
    # Indices are unsigned, lest each is tested for counting from the end.
    for event in range(np.uint64(events.shape[0])):
        column = np.uint32(column_of[np.uint64(events[event])])
        channel = np.uint32(column // plane)
        place = np.uint32(column % plane)
        payload = payloads[event] if graded else one
        group_start = np.int64(channel // in_group) * out_group
        group_stop = group_start + out_group
        first_weight = np.int64(channel) * channel_size - max(group_start, held)
        row = np.uint64(np.uint64(conv.first_row) + np.uint64(place // width))
        across = np.uint64(np.uint64(conv.first_column) + np.uint64(place % width))
        first_across = np.uint64(tap_starts[across])
        last_across = np.uint64(tap_starts[across + np.uint64(1)])
        for down in range(np.uint64(tap_starts[row]), np.uint64(tap_starts[row + np.uint64(1)])):
            for entry in range(first_across, last_across):
                position = np.uint64(tap_positions[down] + tap_positions[entry])
                lowest_held = np.int64(lowest[position])
                low = max(group_start, lowest_held)
                count = min(group_stop, np.int64(highest[position])) - low
                if count <= 0:
                    continue
                first = position_row[position] + low - lowest_held
                tap = np.int64(taps[down] + taps[entry])
                into, start = np.uint64(first), np.uint64(first_weight + tap * run + low)
                for i in range(np.uint64(count)):
                    sums[into + i] += np.int32(payload * np.int32(weights[start + i]))
                for i in range(np.uint64(count)):
                    hits[into + i] = True
                last_block = np.uint64((first + count - 1) // BLOCK)
                flags[last_block] = True
                for number in range(np.uint64(first // BLOCK), last_block):
                    flags[number] = True
                total += count
    return total
