"""Numba kernels that update compartments, block by block.

The arithmetic is that of :mod:`mapping.semantics.fixedpoint`; this file repeats it on scalars.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.ir.quantized import Int32Array
from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_LIMIT, STATE_SHIFT
from simulators.chip.kernel import inlined, kernel
from simulators.chip.program import DELTA, GATE, LIF, RECTIFIED, SIGMA, BoolArray, ChipProgram
from simulators.chip.state import ChipState


@inlined
def wrap32(x: Any) -> Any:
    """Two's-complement wrap to 32 bits."""
    return np.int64(np.int32(x))


@inlined
def _decay(x: Any, kept_parts: int) -> Any:
    """So many parts of 4096 of ``x``, rounded towards zero; without a branch, to be vectorised."""
    sign = x >> 63
    kept = (((x ^ sign) - sign) * kept_parts) >> 12
    return (kept ^ sign) - sign


@inlined
def _decay32(x: Any, kept_parts: int) -> Any:
    """As :func:`_decay`, of an int32 and in 32 bits, so that vectors hold twice as many.

    The parts of the upper and of the lower 12 bits add up to those of the whole.
    """
    sign = np.int32(x >> 31)
    size = np.int64(np.uint32(np.int32(np.int32(x ^ sign) - sign)))
    kept = np.int32((size >> 12) * kept_parts + (((size & 4095) * kept_parts) >> 12))
    return np.int32(np.int32(kept ^ sign) - sign)


@kernel
def update_block(program: ChipProgram, state: ChipState, block: int, sent: int) -> Any:
    """Update one block and append what it sends to the events, of which there are ``sent``.

    Returns:
        The number of events now, how many compartments were updated, and whether the block has to
        be updated in the next step whatever arrives.
    """
    own = program.blocks[block]
    kind, start, stop = own.kind, own.start, own.stop
    if kind == LIF:
        sent, updated, restless = _update_lif(
            state.memory[0, start:stop],
            state.memory[1, start:stop],
            state.inputs[0, start:stop],
            program.bias[start:stop],
            program.threshold[start:stop],
            state.reached[start:stop],
            own.decay_one,
            own.decay_two,
            state.fired,
            state.events,
            state.payloads,
            program.inputs + start,
            sent,
        )
        return sent, updated, restless
    updated = 0
    stays: Any = False
    for c in range(start, stop):
        a, b = np.int64(state.inputs[0, c]), np.int64(state.inputs[1, c])
        state.inputs[0, c] = 0
        state.inputs[1, c] = 0
        if kind == GATE:
            busy = state.memory[0, c] != 0 or state.memory[1, c] != 0
            payload = _update_gate(program, state, block, c, a, b)
        else:
            busy = program.bias[c] != 0
            payload = _update_relay(program, state, block, c, a, b)
            stays = stays or _is_restless(program, state, block, c)
        updated += busy or state.reached[c] or payload != 0
        state.reached[c] = False
        if payload != 0:
            state.events[sent] = program.inputs + c
            state.payloads[sent] = payload
            sent += 1
    return sent, updated, stays


@kernel
def _update_lif(
    u: Int32Array,
    v: Int32Array,
    signal: Int32Array,
    biases: Int32Array,
    thresholds: Int32Array,
    reached: BoolArray,
    decay_one: int,
    decay_two: int,
    fired: npt.NDArray[np.int8],
    events: Int32Array,
    payloads: Int32Array,
    source: int,
    sent: int,
) -> Any:
    """As :func:`update_block`, for LIF compartments, of which the first is ``source``."""
    size = signal.shape[0]
    keep_u = np.int64(DECAY_UNIT - decay_one) & (2 * DECAY_UNIT - 1)
    keep_v = np.int64(DECAY_UNIT - decay_two) & (2 * DECAY_UNIT - 1)
    lasts = np.int32(-(keep_u != 0))
    updated, spikes, restless = np.int32(0), np.int32(0), np.int32(0)
    for i in range(size):
        a, bias, u_before, v_before = signal[i], biases[i], u[i], v[i]
        current = np.int32(_decay32(u_before, keep_u) + np.int32(a << STATE_SHIFT))
        over = np.int32(current > STATE_LIMIT) - np.int32(current <= -STATE_LIMIT)
        current = np.int32(current - np.int32(over * (2 * STATE_LIMIT)))
        voltage = np.int32(np.int32(_decay32(v_before, keep_v) + current) + bias)
        voltage = max(voltage, np.int32(-STATE_LIMIT + 1))
        voltage = min(voltage, np.int32(STATE_LIMIT - 1))
        spike = np.int32(voltage > thresholds[i])
        voltage = np.int32(voltage & np.int32(spike - 1))
        signal[i] = 0
        u[i], v[i], fired[i] = current, voltage, spike
        reach = np.int32(reached[i])
        reached[i] = False
        busy = np.int32(np.int32((u_before & lasts) | v_before) | np.int32(reach | bias))
        updated = np.int32(updated + np.int32(np.int32(busy | spike) != 0))
        spikes = np.int32(spikes + spike)
        restless = np.int32(restless | np.int32(current | voltage))
    if spikes:
        # Every compartment is written, and stays if it fired: cheaper than mispredicted branches.
        for i in range(np.uint64(size)):
            events[np.uint64(sent)] = source + np.int64(i)
            payloads[np.uint64(sent)] = 1
            sent += fired[i]
    return sent, np.int64(updated), restless != 0


@inlined
def _update_relay(
    program: ChipProgram, state: ChipState, block: int, c: int, a: int, b: int
) -> Any:
    """Update a relay, whose memory is z, gates on, what its target holds; returns its payload."""
    memory = state.memory
    flags = program.blocks[block].flags
    z = np.int64(memory[0, c]) if flags & SIGMA else np.int64(0)
    z = wrap32(z + a + program.bias[c])
    memory[0, c] = z
    memory[1, c] = wrap32(np.int64(memory[1, c]) + b)
    x = max(z, np.int64(0)) if flags & RECTIFIED else z
    if memory[1, c] < program.setting[c]:
        x = np.int64(0)
    x = wrap32(x - memory[2, c])
    if abs(x) <= program.threshold[c]:
        return np.int64(0)
    if flags & DELTA:
        memory[2, c] = wrap32(np.int64(memory[2, c]) + x)
    return x


@inlined
def _is_restless(program: ChipProgram, state: ChipState, block: int, c: int) -> Any:
    """Whether a relay may send in the next step though nothing arrives.

    A sum is sent anew in every step, unless only changes are sent; a value that is no sum falls
    back to zero, of which a relay that sends changes has to tell.
    """
    flags = program.blocks[block].flags
    if flags & SIGMA:
        return flags & DELTA == 0 and state.memory[0, c] != 0
    return flags & DELTA != 0 and state.memory[2, c] != 0


@inlined
def _update_gate(program: ChipProgram, state: ChipState, block: int, c: int, a: int, b: int) -> Any:
    """Update a gate, whose memory is gain, trace, trace last seen, on; returns how on changed."""
    own, memory = program.blocks[block], state.memory
    gain = wrap32(_decay(np.int64(memory[0, c]), DECAY_UNIT - own.decay_one) + a)
    gain = min(max(gain, -STATE_LIMIT + 1), STATE_LIMIT - 1)
    trace = wrap32(_decay(np.int64(memory[1, c]), DECAY_UNIT - own.decay_two) + b)
    moved = abs(trace - memory[2, c])
    memory[0, c], memory[1, c] = gain, trace
    setting = program.setting[c]
    if setting != 0 and moved <= setting:
        return np.int64(0)
    memory[2, c] = trace
    on = np.int64(gain > program.threshold[c])
    change = on - memory[3, c]
    memory[3, c] = on
    return change
