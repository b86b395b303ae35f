"""Numba kernels that update compartments, block by block.

The arithmetic is that of :mod:`mapping.semantics.fixedpoint`; this file repeats it on scalars.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_LIMIT, STATE_SHIFT
from simulators.chip.layout import DELTA, GATE, LIF, RECTIFIED, SIGMA, ChipProgram
from simulators.chip.state import ChipState


@numba.njit(cache=True, nogil=True, inline="always")
def wrap32(x: Any) -> Any:
    """Two's-complement wrap to 32 bits."""
    return np.int64(np.int32(x))


@numba.njit(cache=True, nogil=True, inline="always")
def _decay(x: Any, kept_parts: int) -> Any:
    """So many parts of 4096 of ``x``, rounded towards zero; without a branch, to be vectorised."""
    sign = x >> 63
    kept = (((x ^ sign) - sign) * kept_parts) >> 12
    return (kept ^ sign) - sign


@numba.njit(cache=True, nogil=True)
def update_block(program: ChipProgram, state: ChipState, block: int, sent: int) -> Any:
    """Update one block and append what it sends to the events, of which there are ``sent``.

    Returns:
        The number of events now, how many compartments were updated, and whether the block has to
        be updated in the next step whatever arrives.
    """
    kind = program.blocks.kind[block]
    if kind == LIF:
        return _update_lif(program, state, block, sent)
    start, stop = program.blocks.start[block], program.blocks.stop[block]
    updated, stays = 0, False
    for c in range(start, stop):
        a, b = np.int64(state.inputs[0, c]), np.int64(state.inputs[1, c])
        state.inputs[0, c] = 0
        state.inputs[1, c] = 0
        if kind == GATE:
            busy = state.memory[0, c] != 0 or state.memory[1, c] != 0
            payload = _update_gate(program, state, block, c, a, b)
        else:
            busy = program.compartments.bias[c] != 0
            payload = _update_relay(program, state, block, c, a, b)
            stays = stays or _is_restless(program, state, block, c)
        updated += busy or a != 0 or b != 0 or payload != 0
        if payload != 0:
            state.events[sent] = program.inputs + c
            state.payloads[sent] = payload
            sent += 1
    return sent, updated, stays


@numba.njit(cache=True, nogil=True)
def _update_lif(program: ChipProgram, state: ChipState, block: int, sent: int) -> Any:
    blocks, compartments = program.blocks, program.compartments
    start, stop = blocks.start[block], blocks.stop[block]
    keep_u = DECAY_UNIT - blocks.decay_one[block]
    keep_v = DECAY_UNIT - blocks.decay_two[block]
    u, v = state.memory[0, start:stop], state.memory[1, start:stop]
    signal, fired = state.inputs[0, start:stop], state.fired
    biases, thresholds = compartments.bias[start:stop], compartments.threshold[start:stop]
    updated, spikes, rest = 0, 0, np.int64(0)
    for i in range(stop - start):
        a, bias = np.int64(signal[i]), np.int64(biases[i])
        u_before, v_before = np.int64(u[i]), np.int64(v[i])
        current = wrap32(_decay(u_before, keep_u) + wrap32(a << STATE_SHIFT))
        if current > STATE_LIMIT:
            current -= 2 * STATE_LIMIT
        elif current <= -STATE_LIMIT:
            current += 2 * STATE_LIMIT
        voltage = wrap32(_decay(v_before, keep_v) + current + bias)
        voltage = min(max(voltage, -STATE_LIMIT + 1), STATE_LIMIT - 1)
        spike = np.int64(voltage > thresholds[i])
        voltage *= 1 - spike
        signal[i] = 0
        u[i], v[i], fired[i] = current, voltage, spike
        updated += (u_before | v_before | a | bias | spike) != 0
        spikes += spike
        rest |= current | voltage
    if spikes:
        for i in range(stop - start):
            if fired[i]:
                state.events[sent] = program.inputs + start + i
                state.payloads[sent] = 1
                sent += 1
    return sent, updated, rest != 0


@numba.njit(cache=True, nogil=True)
def _update_relay(
    program: ChipProgram, state: ChipState, block: int, c: int, a: int, b: int
) -> Any:
    """Update a relay, whose memory is z, gates on, what its target holds; returns its payload."""
    compartments, memory = program.compartments, state.memory
    flags = program.blocks.flags[block]
    z = np.int64(memory[0, c]) if flags & SIGMA else np.int64(0)
    z = wrap32(z + a + compartments.bias[c])
    memory[0, c] = z
    memory[1, c] = wrap32(np.int64(memory[1, c]) + b)
    x = max(z, np.int64(0)) if flags & RECTIFIED else z
    if memory[1, c] < compartments.setting[c]:
        x = np.int64(0)
    x = wrap32(x - memory[2, c])
    if abs(x) <= compartments.threshold[c]:
        return np.int64(0)
    if flags & DELTA:
        memory[2, c] = wrap32(np.int64(memory[2, c]) + x)
    return x


@numba.njit(cache=True, nogil=True)
def _is_restless(program: ChipProgram, state: ChipState, block: int, c: int) -> Any:
    """Whether a relay may send in the next step though nothing arrives.

    A sum is sent anew in every step, unless only changes are sent; a value that is no sum falls
    back to zero, of which a relay that sends changes has to tell.
    """
    flags = program.blocks.flags[block]
    if flags & SIGMA:
        return flags & DELTA == 0 and state.memory[0, c] != 0
    return flags & DELTA != 0 and state.memory[2, c] != 0


@numba.njit(cache=True, nogil=True)
def _update_gate(program: ChipProgram, state: ChipState, block: int, c: int, a: int, b: int) -> Any:
    """Update a gate, whose memory is gain, trace, trace last seen, on; returns how on changed."""
    blocks, compartments, memory = program.blocks, program.compartments, state.memory
    gain = wrap32(_decay(np.int64(memory[0, c]), DECAY_UNIT - blocks.decay_one[block]) + a)
    gain = min(max(gain, -STATE_LIMIT + 1), STATE_LIMIT - 1)
    trace = wrap32(_decay(np.int64(memory[1, c]), DECAY_UNIT - blocks.decay_two[block]) + b)
    moved = abs(trace - memory[2, c])
    memory[0, c], memory[1, c] = gain, trace
    setting = compartments.setting[c]
    if setting != 0 and moved <= setting:
        return np.int64(0)
    memory[2, c] = trace
    on = np.int64(gain > compartments.threshold[c])
    change = on - memory[3, c]
    memory[3, c] = on
    return change
