"""The Numba kernel: one sample after the other, event by event, no Python inside.

The arithmetic is that of :mod:`mapping.semantics.fixedpoint`; this file repeats it on scalars.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_LIMIT, STATE_SHIFT
from simulators.chip.state import (
    DELTA,
    LIF,
    RECTIFIED,
    RELAY,
    SIGMA,
    ChipProgram,
    Compartments,
    Int64Array,
)

COUNTED = (
    "synaptic_op",
    "compartment_access",
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
"""Leading axis of the kernel's counts; the order of :class:`mapping.cost.ActionCounts`."""
(
    _SYNAPTIC_OP,
    _ACCESS,
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


@numba.njit(cache=True, nogil=True, inline="always")
def _wrap32(x: Any) -> Any:
    return np.int64(np.int32(x))


@numba.njit(cache=True, nogil=True, inline="always")
def _shift(x: int, exponent: int) -> int:
    return x << exponent if exponent > 0 else x >> -exponent


@numba.njit(cache=True, nogil=True, inline="always")
def _decay(x: int, parts: int) -> int:
    if x < 0:
        return -((-x * (DECAY_UNIT - parts)) >> 12)
    return (x * (DECAY_UNIT - parts)) >> 12


@numba.njit(cache=True, nogil=True)
def run_samples(
    program: ChipProgram,
    payloads: Int64Array,
    first: int,
    last: int,
    spikes: npt.NDArray[np.int32],
    states: npt.NDArray[np.int32],
    counts: Int64Array,
    flow_packets: Int64Array,
) -> None:
    """Run samples ``first:last``.

    Args:
        program: the flat program.
        payloads: ``(samples, steps, inputs)``.
        first, last: range of samples.
        spikes: ``(samples, steps, compartments)``, receives the payloads sent.
        states: ``(2, samples, steps, compartments)``, receives u and v; with 0 samples nothing
            is recorded.
        counts: ``(len(COUNTED), samples, steps, cores)``, incremented.
        flow_packets: ``(flows,)``, incremented.
    """
    compartments = program.compartments
    size = compartments.core.shape[0]
    steps = payloads.shape[1]
    record = states.shape[1] > 0
    memory = np.zeros((4, size), np.int64)
    inputs = np.zeros((2, size), np.int64)
    sums = np.zeros(program.sums, np.int64)
    reached = np.zeros(program.tiles.core.shape[0], np.bool_)
    conditions = program.conditions.start.shape[0]
    so_far = np.zeros(program.inputs, np.int64)
    told = np.zeros((conditions, program.inputs), np.int64)
    is_open = np.zeros(conditions, np.bool_)
    for sample in range(first, last):
        memory[:] = 0
        sums[:] = 0
        reached[:] = False
        so_far[:] = 0
        told[:] = 0
        for step in range(steps):
            _check_conditions(program, memory, is_open)
            _deliver(program, inputs, sums, reached)
            here = counts[:, sample, step]
            for c in range(size):
                core = compartments.core[c]
                a, b = _wrap32(inputs[0, c]), _wrap32(inputs[1, c])
                kind = compartments.kind[c]
                if kind == LIF:
                    busy = memory[0, c] != 0 or memory[1, c] != 0
                    sent = _lif(compartments, memory, c, a)
                elif kind == RELAY:
                    busy = False
                    sent = _relay(compartments, memory, c, a, b)
                else:
                    busy = memory[0, c] != 0 or memory[1, c] != 0
                    sent = _gate(compartments, memory, c, a, b)
                busy = busy or a != 0 or b != 0 or sent != 0 or compartments.bias[c] != 0
                here[_ACCESS, core] += 1
                here[_UPDATE, core] += busy
                spikes[sample, step, c] = sent
                if record:
                    states[0, sample, step, c] = memory[0, c]
                    states[1, sample, step, c] = memory[1, c]
                if sent != 0:
                    here[_SPIKE, core] += 1
                    source = program.inputs + c
                    _send(program, source, sent, -1, sums, reached, here, flow_packets)
            for source in range(program.inputs):
                payload = payloads[sample, step, source]
                if payload != 0:
                    _send(program, source, payload, -1, sums, reached, here, flow_packets)
                if program.delta:
                    so_far[source] = _wrap32(so_far[source] + payload)
                else:
                    so_far[source] = payload
                for condition in range(conditions):
                    wanted = so_far[source] if is_open[condition] else np.int64(0)
                    payload = _wrap32(wanted - told[condition, source])
                    if payload != 0:
                        _send(
                            program, source, payload, condition, sums, reached, here, flow_packets
                        )
                    if program.delta:
                        told[condition, source] = wanted


@numba.njit(cache=True, nogil=True)
def _lif(compartments: Compartments, memory: Int64Array, c: int, a: int) -> int:
    """Update a LIF compartment, whose memory is u, v; returns its spike."""
    current = _wrap32(_decay(memory[0, c], compartments.decay_one[c]) + _wrap32(a << STATE_SHIFT))
    if current > STATE_LIMIT:
        current -= 2 * STATE_LIMIT
    elif current <= -STATE_LIMIT:
        current += 2 * STATE_LIMIT
    voltage = _wrap32(
        _decay(memory[1, c], compartments.decay_two[c]) + current + compartments.bias[c]
    )
    voltage = min(max(voltage, -STATE_LIMIT + 1), STATE_LIMIT - 1)
    memory[0, c] = current
    if voltage > compartments.threshold[c]:
        memory[1, c] = 0
        return 1
    memory[1, c] = voltage
    return 0


@numba.njit(cache=True, nogil=True)
def _relay(compartments: Compartments, memory: Int64Array, c: int, a: int, b: int) -> Any:
    """Update a relay, whose memory is z, gates on, what its target holds; returns its payload."""
    flags = compartments.flags[c]
    z = memory[0, c] if flags & SIGMA else np.int64(0)
    z = _wrap32(z + a + compartments.bias[c])
    memory[0, c] = z
    memory[1, c] = _wrap32(memory[1, c] + b)
    x = max(z, np.int64(0)) if flags & RECTIFIED else z
    if memory[1, c] < compartments.setting[c]:
        x = np.int64(0)
    x = _wrap32(x - memory[2, c])
    if abs(x) <= compartments.threshold[c]:
        return 0
    if flags & DELTA:
        memory[2, c] = _wrap32(memory[2, c] + x)
    return x


@numba.njit(cache=True, nogil=True)
def _gate(compartments: Compartments, memory: Int64Array, c: int, a: int, b: int) -> Any:
    """Update a gate, whose memory is gain, trace, trace last seen, on; returns how on changed."""
    gain = _wrap32(_decay(memory[0, c], compartments.decay_one[c]) + a)
    memory[0, c] = min(max(gain, -STATE_LIMIT + 1), STATE_LIMIT - 1)
    memory[1, c] = _wrap32(_decay(memory[1, c], compartments.decay_two[c]) + b)
    moved = abs(memory[1, c] - memory[2, c])
    if compartments.setting[c] != 0 and moved <= compartments.setting[c]:
        return 0
    memory[2, c] = memory[1, c]
    on = np.int64(memory[0, c] > compartments.threshold[c])
    change = on - memory[3, c]
    memory[3, c] = on
    return change


@numba.njit(cache=True, nogil=True)
def _check_conditions(
    program: ChipProgram, memory: Int64Array, is_open: npt.NDArray[np.bool_]
) -> None:
    """Which conditions hold: all their gates were on in the step before."""
    for condition in range(is_open.shape[0]):
        is_open[condition] = True
        for c in range(program.conditions.start[condition], program.conditions.stop[condition]):
            is_open[condition] = is_open[condition] and memory[3, c] != 0


@numba.njit(cache=True, nogil=True)
def _deliver(
    program: ChipProgram, inputs: Int64Array, sums: Int64Array, reached: npt.NDArray[np.bool_]
) -> None:
    """Turn the complete synaptic sums of the last step into signal and control ``inputs``."""
    tiles = program.tiles
    inputs[:] = 0
    for tile in range(reached.shape[0]):
        if reached[tile]:
            reached[tile] = False
            target, offset = tiles.target[tile], tiles.sums[tile]
            port = np.int64(tiles.control[tile])
            for row in range(tiles.rows[tile]):
                total = _wrap32(sums[offset + row])
                sums[offset + row] = 0
                inputs[port, target + row] += _wrap32(_shift(total, tiles.exponent[tile]))


@numba.njit(cache=True, nogil=True)
def _send(
    program: ChipProgram,
    source: int,
    payload: int,
    condition: int,
    sums: Int64Array,
    reached: npt.NDArray[np.bool_],
    here: Int64Array,
    flow_packets: Int64Array,
) -> None:
    """Carry one spike to every tile that reads it under ``condition``, and count what it takes."""
    tiles, fanout, flows = program.tiles, program.fanout, program.flows
    for entry in range(fanout.tile_start[source], fanout.tile_start[source + 1]):
        tile = fanout.tiles[entry]
        if tiles.condition[tile] != condition:
            continue
        rows = tiles.rows[tile]
        weight = (payload if tiles.graded[tile] else 1) << tiles.weight_shift[tile]
        start = tiles.weights_start[tile] + np.int64(source - tiles.source[tile]) * rows
        offset = tiles.sums[tile]
        for row in range(rows):
            sums[offset + row] += weight * tiles.weights[start + row]
        reached[tile] = True
        here[_SYNAPTIC_OP, tiles.core[tile]] += rows
    for entry in range(fanout.flow_start[source], fanout.flow_start[source + 1]):
        if fanout.condition[entry] != condition:
            continue
        flow = fanout.flows[entry]
        charged = flows.charged[flow]
        flow_packets[flow] += 1
        here[_AXON_IN, charged] += flows.target[flow] >= 0
        here[_EAST_WEST, charged] += flows.east_west[flow]
        here[_NORTH_SOUTH, charged] += flows.north_south[flow]
        here[_HOP_CHIP, charged] += flows.chip[flow]
        if flows.source[flow] < 0:
            here[_HOST_PACKET, charged] += 1
        else:
            here[_AXON_OUT, flows.source[flow]] += 1
            here[_WITHIN_TILE, charged] += flows.local[flow]
