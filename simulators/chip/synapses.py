"""Numba kernels for synapses: add what a spike brings, and deliver the sums of a step.

Sums are kept modulo 2**32 in units of mantissas; shifts follow when a complete sum is delivered.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from simulators.chip.layout import BLOCK, CONV, DENSE, ChipProgram
from simulators.chip.state import ChipState


@numba.njit(cache=True, nogil=True)
def deliver_due(program: ChipProgram, state: ChipState) -> None:
    """Turn what is due in this step into inputs, and wake the blocks that get any."""
    ring = state.due_count.shape[0]
    now = state.clock[0] % ring
    for entry in range(state.due_count[now]):
        _deliver(program, state, state.due[now, entry])
    state.due_count[now] = 0


@numba.njit(cache=True, nogil=True)
def _deliver(program: ChipProgram, state: ChipState, section: int) -> None:
    sections = program.sections
    slot = state.clock[0] % sections.slots[section]
    rows, target = sections.rows[section], sections.target[section]
    state.reached[sections.first_slot[section] + slot] = False
    blocks = (rows + BLOCK - 1) // BLOCK
    first_flag = sections.flags[section] + slot * blocks
    first_sum = sections.sums[section] + slot * rows
    port = sections.control[section]
    exponent, weight_shift = sections.exponent[section], sections.weight_shift[section]
    left, right = max(exponent, 0), max(-exponent, 0)
    for number in range(blocks):
        if not state.flags[first_flag + number]:
            continue
        state.flags[first_flag + number] = False
        start = number * BLOCK
        length = min(BLOCK, rows - start)
        sums = state.sums[first_sum + start : first_sum + start + length]
        inputs = state.inputs[port, target + start : target + start + length]
        for i in range(length):
            total = np.int64(np.int32(np.int64(sums[i]) << weight_shift))
            inputs[i] += np.int32((total << left) >> right)
            sums[i] = 0
        wake(state, sections.first_block[section] + number)


@numba.njit(cache=True, nogil=True, inline="always")
def wake(state: ChipState, block: int) -> None:
    """Have ``block`` updated in this step."""
    if not state.awake[block]:
        state.awake[block] = True
        state.active[state.clock[1]] = block
        state.clock[1] += 1


@numba.njit(cache=True, nogil=True)
def add_events(program: ChipProgram, state: ChipState, section: int, first: int, last: int) -> Any:
    """Add what the events ``first:last`` bring to ``section``; returns the synapses read."""
    sections = program.sections
    form, graded = sections.form[section], sections.graded[section]
    rows = np.int64(sections.rows[section])
    delays = sections.first_delay[section]
    total = np.int64(0)
    slot = _open_slot(program, state, section, 0) if delays < 0 else np.int64(0)
    for event in range(first, last):
        column = program.source_column[state.events[event]] - sections.first_column[section]
        payload = state.payloads[event] if graded else np.int32(1)
        if delays >= 0:
            slot = _open_slot(program, state, section, program.delays[delays + column])
        if form == DENSE:
            start = sections.first_weight[section] + column * rows
            sums = state.sums[sections.sums[section] + slot * rows :][:rows]
            weights = program.weights[start : start + rows]
            for row in range(rows):
                sums[row] += np.int32(payload * np.int32(weights[row]))
            total += rows
            if delays >= 0 or event == first:
                _flag(program, state, section, slot, 0, rows)
        elif form == CONV:
            total += _add_conv(program, state, section, slot, column, payload)
        else:
            total += _add_sparse(program, state, section, slot, column, payload)
    return total


@numba.njit(cache=True, nogil=True)
def _open_slot(program: ChipProgram, state: ChipState, section: int, delay: int) -> Any:
    """The slot of ``section`` for spikes with ``delay``, on the list of those that are due then."""
    arrival = state.clock[0] + 1 + delay
    slot = arrival % program.sections.slots[section]
    number = program.sections.first_slot[section] + slot
    if not state.reached[number]:
        state.reached[number] = True
        then = arrival % state.due_count.shape[0]
        state.due[then, state.due_count[then]] = section
        state.due_count[then] += 1
    return slot


@numba.njit(cache=True, nogil=True, inline="always")
def _flag(
    program: ChipProgram, state: ChipState, section: int, slot: int, start: int, stop: int
) -> None:
    """Note that the rows ``start:stop`` of a slot hold something."""
    blocks = (program.sections.rows[section] + BLOCK - 1) // BLOCK
    base = program.sections.flags[section] + slot * blocks
    for number in range(start // BLOCK, (stop - 1) // BLOCK + 1):
        state.flags[base + number] = True


@numba.njit(cache=True, nogil=True)
def _add_sparse(
    program: ChipProgram, state: ChipState, section: int, slot: int, column: int, payload: int
) -> Any:
    sections = program.sections
    starts = sections.first_start[section] + column
    first, last = program.starts[starts], program.starts[starts + 1]
    weights = sections.first_weight[section]
    targets = sections.first_entry_row[section]
    base = sections.sums[section] + slot * sections.rows[section]
    for entry in range(first, last):
        row = program.entry_rows[targets + entry]
        state.sums[base + row] += np.int32(payload * np.int32(program.weights[weights + entry]))
        _flag(program, state, section, slot, row, row + 1)
    return last - first


@numba.njit(cache=True, nogil=True)
def _add_conv(
    program: ChipProgram, state: ChipState, section: int, slot: int, column: int, payload: int
) -> Any:
    """Add a run of neighbouring channels at each output position that sees the input."""
    sections, convs = program.sections, program.convolutions
    conv = sections.convolution[section]
    _, height, width = convs.inputs[conv]
    _, out_height, out_width = convs.outputs[conv]
    channel, y, x = column // (height * width), column // width % height, column % width
    group = channel // convs.in_group[conv]
    group_start = group * convs.out_group[conv]
    group_stop = group_start + convs.out_group[conv]
    first_held = max(group_start, convs.first_channel[conv])
    run, positions = convs.width[conv], convs.first_position[conv]
    base = sections.sums[section] + slot * sections.rows[section]
    kernel_y, kernel_x = convs.kernel[conv]
    total = 0
    for tap_y in range(kernel_y):
        from_top = y + convs.padding[conv, 0] - tap_y * convs.dilation[conv, 0]
        out_y = from_top // convs.stride[conv, 0]
        if from_top < 0 or out_y * convs.stride[conv, 0] != from_top or out_y >= out_height:
            continue
        for tap_x in range(kernel_x):
            from_left = x + convs.padding[conv, 1] - tap_x * convs.dilation[conv, 1]
            out_x = from_left // convs.stride[conv, 1]
            if from_left < 0 or out_x * convs.stride[conv, 1] != from_left or out_x >= out_width:
                continue
            position = positions + out_y * out_width + out_x
            low = max(group_start, convs.lowest[position])
            count = min(group_stop, convs.highest[position]) - low
            if count <= 0:
                continue
            row = convs.row[position] + low - convs.lowest[position]
            place = np.int64((channel * kernel_y + tap_y) * kernel_x + tap_x) * run
            start = sections.first_weight[section] + place + low - first_held
            sums = state.sums[base + row : base + row + count]
            weights = program.weights[start : start + count]
            for i in range(count):
                sums[i] += np.int32(payload * np.int32(weights[i]))
            _flag(program, state, section, slot, row, row + count)
            total += count
    return total
