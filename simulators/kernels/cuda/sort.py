"""Kernels: samples in the order of their ranks."""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

THREADS = 256
BINS = THREADS
"""Samples are sorted into so many bins of neighbouring ranks: one rank each up to rank 255."""

AT_ONCE = 8
"""Ranks that a thread has on their way."""


def bin_width(r_max: int) -> int:
    """Ranks of a bin."""
    return r_max // BINS + 1


def sort_by_rank(
    given: Any, order: Any, ranks: Any, unfit: Any, step: int, batch: int, r_max: int, width: int
) -> None:
    """Order of the samples, by the bins of their ranks, the largest first: one block.

    Which of two samples of a bin comes first may differ from run to run; no output depends on it.

    Args:
        given: integers, the rank of sample i at i · ``step``.
        order: int32, (batch,), receives the sample that comes i-th.
        ranks: int32, (batch,), receives its rank; -1 where it is not from 0 to ``r_max``.
        unfit: int32, (1,), receives 0, for :func:`.events.find_unfit`.
        step: see ``given``.
        batch, r_max: the sizes.
        width: :func:`bin_width`.
    """
    counts = cuda.shared.array(BINS, int32)
    ends = cuda.shared.array(BINS, int32)
    found = cuda.local.array(AT_ONCE, int32)
    thread = cuda.threadIdx.x
    counts[thread] = 0
    if thread == 0:
        unfit[0] = 0
    cuda.syncthreads()
    for start in range(thread, batch, AT_ONCE * THREADS):
        for j in range(AT_ONCE):
            rank = given[min(start + j * THREADS, batch - 1) * step]
            found[j] = rank if rank >= 0 and rank <= r_max else -1
        for j in range(AT_ONCE):
            if start + j * THREADS < batch:
                cuda.atomic.add(counts, BINS - 1 - max(found[j], 0) // width, 1)
    cuda.syncthreads()
    ends[thread] = counts[thread]
    distance = 1
    while distance < BINS:
        cuda.syncthreads()
        before = ends[thread - distance] if thread >= distance else 0
        cuda.syncthreads()
        ends[thread] += before
        distance *= 2
    counts[thread] = ends[thread] - counts[thread]
    cuda.syncthreads()
    for start in range(thread, batch, AT_ONCE * THREADS):
        for j in range(AT_ONCE):
            rank = given[min(start + j * THREADS, batch - 1) * step]
            found[j] = rank if rank >= 0 and rank <= r_max else -1
        for j in range(AT_ONCE):
            if start + j * THREADS < batch:
                place = cuda.atomic.add(counts, BINS - 1 - max(found[j], 0) // width, 1)
                order[place] = start + j * THREADS
                ranks[place] = found[j]


def add_parts(ranks: Any, z: Any, batch: int, r_max: int, parts: int) -> None:
    """Sum of the parts of the first stage, into the first part: a thread per number.

    Args:
        ranks: int32, (batch,), rank of each row of z.
        z: float32, (parts, batch, r_max).
        batch, r_max, parts: the sizes.
    """
    place = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if place < batch * r_max and place % r_max < ranks[place // r_max]:
        total = z[place]
        for part in range(1, parts):
            total += z[part * batch * r_max + place]
        z[place] = total
