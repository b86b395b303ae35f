"""What the paths of a call cost: counts of their inner turns × this machine's seconds per turn."""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from simulators.kernels.atomics import load, load_double, load_shared, store, store_double
from simulators.kernels.gather import count_events
from simulators.kernels.job import (
    BY_BFLOAT16,
    BY_EVENTS,
    BY_ROWS,
    BY_TILES,
    CALL_THREADS,
    FEATURES,
    FINITE,
    INPUTS,
    OUTPUTS,
    PATHS,
    RATES,
    REACH,
    ROUNDS,
    SECONDS,
    SHARED,
    TURNS,
    Z_WIDTH,
)
from simulators.kernels.layout import Float32Array, Int64Array
from simulators.kernels.pool import THREADS
from simulators.kernels.vector import (
    BLOCK_ROWS,
    GROUP,
    HALF,
    LANES,
    MATRIX,
    PANEL,
    RANKS,
    TILE_ROWS,
    entry,
    kernel,
)

FIRST_CACHE_BYTES, SECOND_CACHE_BYTES = 1 << 15, 1 << 19
"""What is larger comes from farther away than the first-level or the second-level cache."""
HAND_OVER_S = 2e-6
"""What sharing a call with threads that are awake costs: two phases begin and end for all, or one
where it is divided by samples alone. Two took 1.3 to 2.5 µs on two cores of an EPYC with nothing
else to do, for calls of up to 30 µs."""
_SAMPLED_ROWS, _SPANS, _SPAN = 8, 64, 16
"""Rows that are looked at for events, and how many spans of so many inputs of all of them."""


@entry(MATRIX)
def activity(x: Float32Array) -> float:
    """Share of inputs that are not 0, of some that are looked at all over the batch."""
    samples, inputs = x.shape
    rows = min(samples, _SAMPLED_ROWS)
    spans = min(_SPANS // rows, (inputs + _SPAN - 1) // _SPAN)
    width = min(inputs, _SPAN)
    step = (inputs - width) // spans
    found = 0
    for i in range(rows):
        row = x.ctypes.data + x.strides[0] * (i * samples // rows)
        # Between those of the row before, or the same inputs would be asked again and again.
        first = step * i // rows
        for j in range(spans):
            found += count_events(row + 4 * (first + step * j), width)
    share: float = found / (rows * spans * width)
    return share


@kernel
def _set(job: int, path: int, feature: int, count: float) -> None:
    """Note how often a path takes a turn of a kind."""
    store_double(load(job + 8 * TURNS) + 8 * (path * FEATURES + feature), count)


@kernel
def _power_of_two(count: int) -> int:
    """The least that is not below a count; 0 if that is 0."""
    power = min(count, 1)
    while power < count:
        power *= 2
    return power


@kernel
def _beyond(size: float) -> float:
    """So many bytes, or 0 if they fit into the second-level cache."""
    return size if size > SECOND_CACHE_BYTES else 0.0


@kernel
def _not_near(turns: float, size: float) -> float:
    """So many turns, or 0 if the bytes that they read fit into the first-level cache."""
    return turns if size > FIRST_CACHE_BYTES else 0.0


@entry(int64, RANKS, float64)
def count_turns(job: int, ranks: Int64Array, active: float) -> None:
    """Write what each path has to do to the job's TURNS: 1, the samples, and what grows with both.

    Args:
        job: address of the fields, sizes filled in.
        ranks: (samples,), each sample's rank.
        active: share of inputs that are not 0.
    """
    inputs, outputs = load(job + 8 * INPUTS), load(job + 8 * OUTPUTS)
    reach, vectors = load(job + 8 * REACH), load(job + 8 * Z_WIDTH) // HALF
    for v in range(vectors):
        store(reach + 8 * v, 0)
    total, groups, lines, beyond, reached, largest = 0, 0, 0, 0, 0, 0
    for rank in ranks:
        total += rank
        groups += (rank + GROUP - 1) // GROUP
        lines += rank // GROUP * GROUP + _power_of_two(rank % GROUP)
        largest = max(largest, rank)
        beyond += (rank + PANEL - 1) // PANEL
        reached += (rank + LANES - 1) // LANES
        if rank > 0:
            last = reach + 8 * min((rank - 1) // HALF, vectors - 1)
            store(last, load(last) + 1)
    padded, tiled, above, blocks, deep = 0, 0, 0, 0, 0
    low = (ranks.shape[0] + TILE_ROWS - 1) // TILE_ROWS  # Tiles whose loops over ranks are short.
    for v in range(vectors - 1, -1, -1):
        above += load(reach + 8 * v)
        padded += above * HALF
        tiled += (above + TILE_ROWS - 1) // TILE_ROWS * HALF
        if v == 1:
            low -= (above + TILE_ROWS - 1) // TILE_ROWS
        if v % 2 == 0:
            blocks += (above + BLOCK_ROWS - 1) // BLOCK_ROWS
        if v % 4 == 0:
            deep += (above + BLOCK_ROWS - 1) // BLOCK_ROWS
    batch = ranks.shape[0]
    far = _beyond(4.0 * largest * (inputs + outputs))
    read, written = _beyond(4.0 * batch * inputs), _beyond(4.0 * batch * outputs)
    panels = (outputs + PANEL - 1) // PANEL
    tiles = (batch + TILE_ROWS - 1) // TILE_ROWS
    for path in range(len(PATHS)):
        for feature in range(2, FEATURES):
            _set(job, path, feature, 0.0)
        _set(job, path, 0, 1.0)
        _set(job, path, 1, batch)
        _set(job, path, 10, read)
        _set(job, path, 11, written)
    products = float(total) * (inputs + outputs)
    _set(job, BY_ROWS, 2, float(lines) * inputs)
    _set(job, BY_ROWS, 3, products if far else 0.0)
    _set(job, BY_ROWS, 4, float(total) * outputs)
    _set(job, BY_ROWS, 5, float(batch) * outputs)
    _set(job, BY_ROWS, 6, groups)
    _set(job, BY_ROWS, 7, _not_near(float(lines) * inputs, 4.0 * largest * inputs))
    _set(job, BY_ROWS, 8, _not_near(float(total) * outputs, 4.0 * largest * outputs))
    _set(job, BY_ROWS, 9, float(batch) * inputs)
    _set(job, BY_TILES, 2, float(padded) * inputs)
    _set(job, BY_TILES, 3, float(tiled) * inputs)
    sent = active * inputs * reached
    _set(job, BY_EVENTS, 2, sent)
    _set(job, BY_EVENTS, 3, beyond)
    _set(job, BY_EVENTS, 9, sent if far else 0.0)
    _set(job, BY_EVENTS, 14, active * inputs * beyond)
    steps, rows = (inputs + PANEL - 1) // PANEL, (batch + BLOCK_ROWS - 1) // BLOCK_ROWS
    _set(job, BY_BFLOAT16, 2, float(blocks) * steps)
    _set(job, BY_BFLOAT16, 3, float(blocks))
    _set(job, BY_BFLOAT16, 4, float(deep) * panels)
    _set(job, BY_BFLOAT16, 5, float(rows) * panels)
    _set(job, BY_BFLOAT16, 6, float(batch) * inputs)
    _set(job, BY_BFLOAT16, 7, float(batch) * outputs)
    _set(job, BY_BFLOAT16, 8, _beyond(2.0 * largest * (inputs + outputs)))
    for path in (BY_TILES, BY_EVENTS):
        _set(job, path, 4, float(total) * panels)
        _set(job, path, 5, float(tiled) * panels)
        _set(job, path, 6, tiles * panels)
        _set(job, path, 7, far)
        _set(job, path, 8, float(batch) * inputs)
        _set(job, path, 12, low * panels)
        _set(job, path, 13, batch if outputs % PANEL else 0.0)


@kernel
def _shared(job: int, path: int) -> tuple[int, float, float]:
    """Threads at which a path takes least time, how many seconds they save, and that time."""
    threads = min(load(job + 8 * CALL_THREADS), load_shared(load(job + 8 * SHARED) + 8 * THREADS))
    turns, rates, alone = load(job + 8 * TURNS), load(job + 8 * RATES), 0.0
    for feature in range(FEATURES):
        place = 8 * (path * FEATURES + feature)
        alone += load_double(turns + place) * load_double(rates + place)
    shares = alone / threads + HAND_OVER_S
    if path != BY_ROWS and threads > 1 and shares < alone:
        return threads, alone - shares, shares
    return 1, 0.0, alone


@kernel
def share_rounded(job: int, ranks: Int64Array) -> tuple[int, float]:
    """Threads at which a call that rounds takes least time, and how many seconds they save."""
    count_turns(job, ranks, 1.0)
    threads, gain, _ = _shared(job, BY_BFLOAT16)
    return threads, gain


@entry(int64, RANKS, MATRIX)
def decide(job: int, ranks: Int64Array, x: Float32Array) -> tuple[int, int, float, float]:
    """Choose the path and the threads that take least time.

    The time of each path at its best number of threads is left in the job's SECONDS; infinity of
    one that cannot be chosen.

    Args:
        job: address of the fields, all that stay from call to call filled in.
        ranks: (samples,), each sample's rank.
        x: (samples, in) inputs.

    Returns:
        Path, threads, how many seconds they save against one, and the share of inputs that are
        not 0.
    """
    active = activity(x)
    count_turns(job, ranks, active)
    seconds = load(job + 8 * SECONDS)
    best, count, gain, least = BY_ROWS, 1, 0.0, np.inf
    for path in range(len(PATHS)):
        threads, saved, taken = _shared(job, path)
        if path == BY_EVENTS and not load(job + 8 * FINITE):
            taken = np.inf
        if path == BY_BFLOAT16 and not load(job + 8 * ROUNDS):
            taken = np.inf
        store_double(seconds + 8 * path, taken)
        if taken < least:
            best, count, gain, least = path, threads, saved, taken
    return best, count, gain, active
