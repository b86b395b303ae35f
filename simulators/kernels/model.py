"""What the paths of a call cost: counts of their inner turns × this machine's seconds per turn."""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64

from simulators.kernels.job import PATHS
from simulators.kernels.layout import Float32Array, Float64Array, Int64Array
from simulators.kernels.rows import ROWS_AT_ONCE
from simulators.kernels.vector import (
    COUNTS,
    COUNTS_BY_PATH,
    INTEGERS,
    LANES,
    MATRIX,
    PANEL,
    TILE_ROWS,
    entry,
)

ROWS, TILES, EVENTS = range(len(PATHS))
SECOND_CACHE_BYTES = 1 << 19
"""Factors beyond it are read from farther away than the second-level cache."""
HAND_OVER_S = 4e-6
"""What sharing a call with other threads costs at least: two phases begin and end for all."""
_SAMPLED_ROWS, _SAMPLED_INPUTS = 16, 128
_STRIDE = 7
"""Another offset per row, or the same inputs would be asked again and again."""


@entry(MATRIX)
def activity(x: Float32Array) -> float:
    """Share of inputs that are not 0, of up to 2048 that are looked at."""
    samples, inputs = x.shape
    rows, columns = min(samples, _SAMPLED_ROWS), min(inputs, _SAMPLED_INPUTS)
    found = 0
    for i in range(rows):
        row = i * samples // rows
        for j in range(columns):
            place = (j * inputs // columns + i * _STRIDE) % inputs
            found += x[row, place] != 0
    share: float = found / (rows * columns)
    return share


@entry(INTEGERS, int64, int64, float64, INTEGERS, COUNTS_BY_PATH)
def count_turns(
    ranks: Int64Array,
    inputs: int,
    outputs: int,
    active: float,
    reach: Int64Array,
    turns: Float64Array,
) -> None:
    """Write what each path has to do to ``turns``, shape (paths, FEATURES).

    Args:
        ranks: (samples,), each sample's rank.
        inputs, outputs: in and out.
        active: share of inputs that are not 0.
        reach: room for one number per vector of ranks.
        turns: receives, by path, 1, the samples, and what grows with the factors.
    """
    reach[:] = 0
    total, single, beyond, largest = 0, 0, 0, 0
    for rank in ranks:
        total += rank
        single += rank % ROWS_AT_ONCE
        largest = max(largest, rank)
        beyond += (rank + PANEL - 1) // PANEL
        if rank > 0:
            reach[min((rank - 1) // LANES, reach.shape[0] - 1)] += 1
    padded, tiled, above = 0, 0, 0
    for v in range(reach.shape[0] - 1, -1, -1):
        above += reach[v]
        padded += above * LANES
        tiled += (above + TILE_ROWS - 1) // TILE_ROWS * LANES
    batch = ranks.shape[0]
    far = 4.0 * largest * (inputs + outputs)
    panels = (outputs + PANEL - 1) // PANEL
    tiles = (batch + TILE_ROWS - 1) // TILE_ROWS
    turns[:] = 0
    turns[:, 0] = 1
    turns[:, 1] = batch
    turns[ROWS, 2] = float(total) * (inputs + outputs)
    turns[ROWS, 3] = turns[ROWS, 2] if far > SECOND_CACHE_BYTES else 0.0
    turns[ROWS, 4] = float(single) * (inputs + outputs)
    turns[ROWS, 5] = float(batch) * outputs
    turns[ROWS, 6] = total
    turns[TILES, 2] = float(padded) * inputs
    turns[TILES, 3] = float(tiled) * inputs
    turns[EVENTS, 2] = active * inputs * beyond
    turns[EVENTS, 3] = beyond
    turns[EVENTS, 9] = turns[EVENTS, 2] if far > SECOND_CACHE_BYTES else 0.0
    for path in (TILES, EVENTS):
        turns[path, 4] = float(total) * panels
        turns[path, 5] = float(tiled) * panels
        turns[path, 6] = tiles * panels
        turns[path, 7] = far if far > SECOND_CACHE_BYTES else 0.0
        turns[path, 8] = float(batch) * inputs


@entry(INTEGERS, MATRIX, int64, COUNTS_BY_PATH, boolean, int64, INTEGERS, COUNTS_BY_PATH, COUNTS)
def decide(
    ranks: Int64Array,
    x: Float32Array,
    outputs: int,
    seconds_per_turn: Float64Array,
    events: bool,
    threads: int,
    reach: Int64Array,
    turns: Float64Array,
    seconds: Float64Array,
) -> tuple[int, int, float]:
    """Choose the path and the threads that take least time.

    Args:
        ranks: (samples,), each sample's rank.
        x: (samples, in) inputs.
        outputs: out.
        seconds_per_turn: shape (paths, FEATURES).
        events: whether inputs of 0 may be passed over.
        threads: most threads.
        reach, turns: room for :func:`count_turns`.
        seconds: receives the time of each path, at its best number of threads; infinity of one
            that cannot be chosen.

    Returns:
        Path, threads, and the share of inputs that are not 0.
    """
    active = activity(x)
    count_turns(ranks, x.shape[1], outputs, active, reach, turns)
    best, count = ROWS, 1
    for path in range(turns.shape[0]):
        alone = 0.0
        for feature in range(turns.shape[1]):
            alone += turns[path, feature] * seconds_per_turn[path, feature]
        shared = alone / threads + HAND_OVER_S
        helped = path != ROWS and threads > 1 and shared < alone
        seconds[path] = shared if helped else alone
        if path == EVENTS and not events:
            seconds[path] = np.inf
        if seconds[path] < seconds[best] or path == ROWS:
            best, count = path, threads if helped else 1
    return best, count, active
