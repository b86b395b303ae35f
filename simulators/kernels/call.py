"""What Python calls: look whether a call fits, choose its path, and run it."""

from __future__ import annotations

import numpy as np
from numba import int64

from simulators.kernels.atomics import load_shared, store
from simulators.kernels.job import (
    BY_BFLOAT16,
    BY_ROWS,
    CHOOSE,
    DONE,
    HALVES,
    INPUTS,
    LAYOUTS,
    OUTPUTS,
    R_MAX,
    RATES,
    ROOM,
    ROUNDS,
    SHARED,
    UNFIT,
    UNREADY,
)
from simulators.kernels.layout import Float32Array, Int64Array, Samples
from simulators.kernels.model import decide
from simulators.kernels.pool import WORKERS
from simulators.kernels.run import bounds, run_rows, run_tiles
from simulators.kernels.vector import INTEGERS, MATRIX, OUTPUT, RANKS, VECTOR, entry, kernel


@entry(int64, RANKS)
def first_wrong(r_max: int, ranks: Int64Array) -> int:
    """The first sample whose rank is not within 0 to ``r_max``, or DONE."""
    for i in range(ranks.shape[0]):
        if ranks[i] < 0 or ranks[i] > r_max:
            return i
    return DONE


@kernel
def _overlap(x: Samples, y: Samples) -> bool:
    """Whether the memory from the first to the last number of x meets that of y."""
    first, last = bounds(x)
    low, high = bounds(y)
    return first <= high and low <= last


@kernel
def fits(job: Int64Array, ranks: Int64Array, x: Samples, y: Samples) -> bool:
    """Whether arrays have the shapes of the job, with neighbours side by side, and lie apart."""
    batch = ranks.shape[0]
    if not 0 < batch <= job[ROOM]:
        return False
    if x.shape != (batch, job[INPUTS]) or y.shape != (batch, job[OUTPUTS]):
        return False
    if x.shape[1] > 1 and x.strides[1] != x.itemsize:
        return False
    if y.shape[1] > 1 and y.strides[1] != y.itemsize:
        return False
    return not _overlap(x, y)


@entry(INTEGERS, RANKS, MATRIX, VECTOR, VECTOR, OUTPUT, int64, int64)
def run(
    job: Int64Array,
    ranks: Int64Array,
    x: Float32Array,
    scale: Float32Array,
    bias: Float32Array,
    y: Float32Array,
    path: int,
    threads: int,
) -> int:
    """A call on ``path``, or, if that is CHOOSE, on the one that takes least time.

    Args:
        job, scale, bias: as of :func:`simulators.kernels.run.run_tiles`.
        ranks: (samples,) int64.
        x, y: (samples, in) and (samples, out) float32; neighbours of a row lie side by side.
        path: its number.
        threads: how many work on it, this one included, if there is nothing to choose.

    Returns:
        DONE; or, with nothing done, the first sample whose rank is out of range, UNFIT if arrays
        do not fit the job or x and y may overlap, or UNREADY if the path that was chosen needs
        workers or a layout that have not been made.
    """
    if not fits(job, ranks, x, y):
        return UNFIT
    wrong = first_wrong(job[R_MAX], ranks)
    if wrong != DONE:
        return wrong
    at, shared, gain = job.ctypes.data, job[SHARED], np.inf
    if path == CHOOSE:
        if not job[RATES]:
            return UNREADY
        path, threads, gain, _ = decide(at, ranks, x)
        ready = job[LAYOUTS[path]]
        if not ready or threads - 1 > load_shared(shared + 8 * WORKERS):
            return UNREADY
    elif path == BY_BFLOAT16 and not job[ROUNDS]:
        return UNFIT
    store(at + 8 * HALVES, 0)
    if path == BY_ROWS:
        run_rows(at, ranks, x, scale, bias, y)
    else:
        run_tiles(at, ranks, x, scale, bias, y, path, shared, threads, gain)
    return DONE
