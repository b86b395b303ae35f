"""What Python calls with numbers that are bfloat16 already."""

from __future__ import annotations

from simulators.kernels.atomics import load_shared, store
from simulators.kernels.call import first_wrong, fits
from simulators.kernels.job import (
    BY_BFLOAT16,
    DONE,
    HALVES,
    R_MAX,
    RATES,
    ROUNDS,
    SHARED,
    UNFIT,
    UNREADY,
    V_PAIRS,
)
from simulators.kernels.layout import Float32Array, Int64Array, UInt16Array
from simulators.kernels.model import share_rounded
from simulators.kernels.pool import WORKERS
from simulators.kernels.run import run_tiles
from simulators.kernels.vector import HALF_MATRIX, HALF_OUTPUT, INTEGERS, RANKS, VECTOR, entry


@entry(INTEGERS, RANKS, HALF_MATRIX, VECTOR, VECTOR, HALF_OUTPUT)
def run_halves(
    job: Int64Array,
    ranks: Int64Array,
    x: UInt16Array,
    scale: Float32Array,
    bias: Float32Array,
    y: UInt16Array,
) -> int:
    """A call on the path ``bfloat16``, on as many threads as take least time.

    Args:
        job, ranks, scale, bias: as of :func:`simulators.kernels.call.run`.
        x, y: (samples, in) and (samples, out) bfloat16; neighbours of a row lie side by side.

    Returns:
        As :func:`simulators.kernels.call.run`; UNREADY too where numbers are not to be rounded.
    """
    if not fits(job, ranks, x, y):
        return UNFIT
    wrong = first_wrong(job[R_MAX], ranks)
    if wrong != DONE:
        return wrong
    if not (job[RATES] and job[ROUNDS] and job[V_PAIRS]):
        return UNREADY
    at, shared = job.ctypes.data, job[SHARED]
    threads, gain = share_rounded(at, ranks)
    if threads - 1 > load_shared(shared + 8 * WORKERS):
        return UNREADY
    store(at + 8 * HALVES, 1)
    run_tiles(at, ranks, x, scale, bias, y, BY_BFLOAT16, shared, threads, gain)
    return DONE
