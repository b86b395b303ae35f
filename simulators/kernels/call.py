"""What Python calls: look whether a call fits, choose its path, and run it."""

from __future__ import annotations

from numba import int64

from simulators.kernels.job import (
    CHOOSE,
    DONE,
    INPUTS,
    OUTPUTS,
    R_MAX,
    RATES,
    ROOM,
    UNFIT,
    UNREADY,
    V_PANELS,
    V_ROWS,
)
from simulators.kernels.layout import Float32Array, Int64Array
from simulators.kernels.model import EVENTS, ROWS, decide
from simulators.kernels.run import run_rows, run_tiles
from simulators.kernels.vector import INTEGERS, MATRIX, RANKS, VECTOR, entry


@entry(int64, RANKS)
def first_wrong(r_max: int, ranks: Int64Array) -> int:
    """The first sample whose rank is not within 0 to ``r_max``, or DONE."""
    for i in range(ranks.shape[0]):
        if ranks[i] < 0 or ranks[i] > r_max:
            return i
    return DONE


@entry(INTEGERS, RANKS, MATRIX, VECTOR, VECTOR, MATRIX, int64, int64, int64)
def run(
    job: Int64Array,
    ranks: Int64Array,
    x: Float32Array,
    scale: Float32Array,
    bias: Float32Array,
    y: Float32Array,
    shared: int,
    path: int,
    threads: int,
) -> int:
    """A call on ``path``, or, if that is CHOOSE, on the one that takes least time.

    Args:
        job, scale, bias, shared: as of :func:`simulators.kernels.run.run_tiles`.
        ranks: (samples,) int64.
        x, y: (samples, in) and (samples, out) float32; neighbours of a row lie side by side.
        path: its number.
        threads: how many work on it, this one included, if there is nothing to choose.

    Returns:
        DONE; or, with nothing done, the first sample whose rank is out of range, UNFIT if shapes
        do not fit each other or the job, or UNREADY if the path that was chosen needs other
        threads or a layout that has not been made.
    """
    batch = ranks.shape[0]
    if x.shape != (batch, job[INPUTS]) or y.shape != (batch, job[OUTPUTS]) or batch > job[ROOM]:
        return UNFIT
    wrong = first_wrong(job[R_MAX], ranks)
    if wrong != DONE:
        return wrong
    at = job.ctypes.data
    if path == CHOOSE:
        if not job[RATES]:
            return UNREADY
        path, threads, _ = decide(at, ranks, x, shared)
        if threads > 1 or not job[V_ROWS if path == ROWS else V_PANELS]:
            return UNREADY
    if path == ROWS:
        run_rows(at, ranks, x, scale, bias, y)
    else:
        run_tiles(at, ranks, x, scale, bias, y, path == EVENTS, shared, threads)
    return DONE
