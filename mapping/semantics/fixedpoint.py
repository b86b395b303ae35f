"""Integer arithmetic of the chip model, written for reading, not for speed.

These rules equal the fixed-point models of Lava 0.10.0 (``LIF`` and ``Dense`` with
``select_tag="fixed_pt"``) bit for bit. All functions take and return int64 arrays that hold 32-bit
values; every name below is a count of the chip's own units.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mapping.ir.synapses import Matrix

Int64Array = npt.NDArray[np.int64]

STATE_SHIFT = 6
"""Dendritic input and thresholds are shifted left by this many bits before they meet the state."""
STATE_LIMIT = 1 << 23
"""``u`` lives in ``(-STATE_LIMIT, STATE_LIMIT]``, ``v`` in ``(-STATE_LIMIT, STATE_LIMIT)``."""
DECAY_UNIT = 1 << 12
"""Decays are fractions of this unit."""


def wrap32(x: Int64Array) -> Int64Array:
    """Two's-complement wrap to 32 bits."""
    return x.astype(np.int32).astype(np.int64)


def shift(x: Int64Array, exponent: int) -> Int64Array:
    """``x * 2**exponent``; a negative exponent rounds towards minus infinity."""
    return x << exponent if exponent > 0 else x >> -exponent


def decay(x: Int64Array, decay_parts: int) -> Int64Array:
    """``x`` less ``decay_parts / 4096`` of it, rounded towards zero."""
    kept = (np.abs(x) * (DECAY_UNIT - decay_parts)) >> 12
    return np.asarray(np.sign(x) * kept)


EXACT_FLOATS = 1 << 53
"""Integers up to this magnitude are exact in double precision."""


def product(weights: Matrix, payloads: Int64Array) -> Int64Array:
    """``payloads @ weights.T`` exactly, as floats where they are exact: NumPy multiplies those by
    BLAS, several times faster.

    Args:
        weights: ``(rows, columns)`` of at most 8 bits and a sign, an array or a sparse array.
        payloads: ``(samples, columns)``.
    """
    largest = int(np.abs(payloads).max(initial=0))
    if isinstance(weights, np.ndarray) and (weights.shape[1] * largest) << 8 < EXACT_FLOATS:
        floats = payloads.astype(np.float64) @ weights.astype(np.float64, copy=False).T
        return np.asarray(floats.astype(np.int64))
    return np.asarray(payloads @ weights.astype(np.int64).T)


def synaptic_sum(
    weights: Matrix, payloads: Int64Array, exponent: int, *, graded: bool
) -> Int64Array:
    """What a projection delivers in the next step.

    Args:
        weights: ``(rows, columns)``, an array or a sparse array.
        payloads: ``(samples, columns)``; without ``graded`` only non-zero or zero counts.
        exponent: shift of the complete sum.

    Returns:
        ``(samples, rows)`` dendritic units, wrapped to 32 bits.
    """
    spikes = payloads if graded else (payloads != 0).astype(np.int64)
    return wrap32(shift(wrap32(product(weights, spikes)), exponent))


def lif_step(
    u: Int64Array,
    v: Int64Array,
    a: Int64Array,
    *,
    du: int,
    dv: int,
    threshold: int,
    bias: Int64Array,
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """One step of LIF compartments: ``(u, v, spikes)`` after dendritic input ``a``."""
    u = wrap32(decay(u, du + 1) + wrap32(a << STATE_SHIFT))
    u = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u + 2 * STATE_LIMIT * (u <= -STATE_LIMIT))
    v = wrap32(decay(v, dv) + u + bias)
    v = np.clip(v, -STATE_LIMIT + 1, STATE_LIMIT - 1)
    spikes = v > (threshold << STATE_SHIFT)
    return u, np.where(spikes, 0, v), spikes.astype(np.int64)


def relay_step(
    z: Int64Array,
    gates_on: Int64Array,
    held: Int64Array,
    a: Int64Array,
    c: Int64Array,
    *,
    threshold: Int64Array,
    needed: Int64Array,
    bias: Int64Array,
    rectified: bool,
    sigma: bool,
    delta: bool,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """One step of relays: ``(z, gates_on, held, payloads)``; a payload of 0 is no spike.

    The rule is that of :class:`mapping.ir.elements.Relay`, for signal ``a`` and control ``c``.
    """
    z = wrap32(z * sigma + a + bias)
    gates_on = wrap32(gates_on + c)
    x = np.maximum(z, 0) if rectified else z
    x = wrap32(np.where(gates_on >= needed, x, 0) - held)
    payloads = np.where(np.abs(x) > threshold, x, 0)
    return z, gates_on, wrap32(held + payloads * delta), payloads


def gate_step(
    gain: Int64Array,
    trace: Int64Array,
    seen: Int64Array,
    on: Int64Array,
    a: Int64Array,
    c: Int64Array,
    *,
    gain_decay: int,
    trace_decay: int,
    trace_threshold: int,
    threshold: Int64Array,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """One step of gates: ``(gain, trace, seen, on)``; a gate sends by how much ``on`` changed.

    The rule is that of :class:`mapping.ir.elements.Gate`; the gain saturates like a voltage and
    meets a ``threshold`` that holds bias, price and cost.
    """
    gain = np.clip(wrap32(decay(gain, gain_decay) + a), -STATE_LIMIT + 1, STATE_LIMIT - 1)
    trace = wrap32(decay(trace, trace_decay) + c)
    moved = (np.abs(trace - seen) > trace_threshold) | (trace_threshold == 0)
    return (
        gain,
        trace,
        np.where(moved, trace, seen),
        np.where(moved, gain > threshold, on).astype(np.int64),
    )
