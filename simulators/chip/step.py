"""The Numba kernel: one sample after the other, event by event, no Python inside.

The arithmetic is that of :mod:`mapping.semantics.fixedpoint`; this file repeats it on scalars.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_LIMIT, STATE_SHIFT
from simulators.chip.state import ChipProgram, Int64Array

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
    compartments, tiles = program.compartments, program.tiles
    size = compartments.core.shape[0]
    steps = payloads.shape[1]
    record = states.shape[1] > 0
    u = np.zeros(size, np.int64)
    v = np.zeros(size, np.int64)
    a = np.zeros(size, np.int64)
    sums = np.zeros(program.sums, np.int64)
    reached = np.zeros(tiles.core.shape[0], np.bool_)
    for sample in range(first, last):
        u[:] = 0
        v[:] = 0
        sums[:] = 0
        reached[:] = False
        for step in range(steps):
            _deliver(program, a, sums, reached)
            here = counts[:, sample, step]
            for c in range(size):
                core = compartments.core[c]
                here[_ACCESS, core] += 1
                total = _wrap32(a[c])
                if compartments.is_relay[c]:
                    here[_UPDATE, core] += total != 0
                    sent = total if abs(total) > compartments.threshold[c] else 0
                else:
                    bias = compartments.bias[c]
                    here[_UPDATE, core] += total != 0 or u[c] != 0 or v[c] != 0 or bias != 0
                    current = _wrap32(
                        _decay(u[c], compartments.du[c] + 1) + _wrap32(total << STATE_SHIFT)
                    )
                    if current > STATE_LIMIT:
                        current -= 2 * STATE_LIMIT
                    elif current <= -STATE_LIMIT:
                        current += 2 * STATE_LIMIT
                    voltage = _wrap32(_decay(v[c], compartments.dv[c]) + current + bias)
                    voltage = min(max(voltage, -STATE_LIMIT + 1), STATE_LIMIT - 1)
                    sent = 0
                    if voltage > compartments.threshold[c]:
                        sent = 1
                        voltage = 0
                    u[c] = current
                    v[c] = voltage
                spikes[sample, step, c] = sent
                if record:
                    states[0, sample, step, c] = u[c]
                    states[1, sample, step, c] = v[c]
                if sent != 0:
                    here[_SPIKE, core] += 1
                    _send(program, program.inputs + c, sent, sums, reached, here, flow_packets)
            for source in range(program.inputs):
                payload = payloads[sample, step, source]
                if payload != 0:
                    _send(program, source, payload, sums, reached, here, flow_packets)


@numba.njit(cache=True, nogil=True)
def _deliver(
    program: ChipProgram, a: Int64Array, sums: Int64Array, reached: npt.NDArray[np.bool_]
) -> None:
    """Turn the complete synaptic sums of the last step into dendritic input ``a``."""
    tiles = program.tiles
    a[:] = 0
    for tile in range(reached.shape[0]):
        if reached[tile]:
            reached[tile] = False
            target, offset = tiles.target[tile], tiles.sums[tile]
            for row in range(tiles.rows[tile]):
                total = _wrap32(sums[offset + row])
                sums[offset + row] = 0
                a[target + row] += _wrap32(_shift(total, tiles.exponent[tile]))


@numba.njit(cache=True, nogil=True)
def _send(
    program: ChipProgram,
    source: int,
    payload: int,
    sums: Int64Array,
    reached: npt.NDArray[np.bool_],
    here: Int64Array,
    flow_packets: Int64Array,
) -> None:
    """Carry one spike to every tile that reads it, and count what that takes."""
    tiles, fanout, flows = program.tiles, program.fanout, program.flows
    for entry in range(fanout.tile_start[source], fanout.tile_start[source + 1]):
        tile = fanout.tiles[entry]
        rows = tiles.rows[tile]
        weight = (payload if tiles.graded[tile] else 1) << tiles.weight_shift[tile]
        start = tiles.weights_start[tile] + np.int64(source - tiles.source[tile]) * rows
        offset = tiles.sums[tile]
        for row in range(rows):
            sums[offset + row] += weight * tiles.weights[start + row]
        reached[tile] = True
        here[_SYNAPTIC_OP, tiles.core[tile]] += rows
    for entry in range(fanout.flow_start[source], fanout.flow_start[source + 1]):
        flow = fanout.flows[entry]
        target = flows.target[flow]
        flow_packets[flow] += 1
        here[_AXON_IN, target] += 1
        here[_EAST_WEST, target] += flows.east_west[flow]
        here[_NORTH_SOUTH, target] += flows.north_south[flow]
        if flows.source[flow] < 0:
            here[_HOST_PACKET, target] += 1
        else:
            here[_AXON_OUT, flows.source[flow]] += 1
            here[_WITHIN_TILE, target] += flows.local[flow]
