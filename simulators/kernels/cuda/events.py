"""Kernels: the input factor on inputs that are mostly 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, float32, int32, int64

THREADS = 128
EACH = 4
"""Neighbouring inputs that a thread looks at."""
CHUNK = THREADS * EACH
"""Inputs of which events are listed before they are added up."""
NARROW = 32
"""Least ranks that threads share an event for."""

LARGEST = np.finfo(np.float32).max
"""Neither infinity nor NaN is at most this."""


def find_unfit(V: Any, unfit: Any, step: int, size: int, width: int, threads: int) -> None:
    """Set ``unfit[0]`` to 1 if V holds NaN or infinity, which inputs of 0 have to meet.

    Args:
        V: float32, rows of ``width`` numbers that lie ``step`` apart.
        unfit: int32, (1,), 0 before.
        step, width: see V.
        size: numbers of V.
        threads: in all blocks together.
    """
    for place in range(cuda.blockIdx.x * THREADS + cuda.threadIdx.x, size, threads):
        if not abs(V[place // width * step + place % width]) <= LARGEST:
            unfit[0] = 1


def scatter(
    x: Any,
    V: Any,
    order: Any,
    ranks: Any,
    unfit: Any,
    z: Any,
    x_stride: int,
    x_step: int,
    v_step: int,
    batch: int,
    inputs: int,
    r_max: int,
    inputs_each: int,
) -> None:
    """z_i = Σ_j x_ij V[j, :r_i] over the inputs that are not 0, of a part: block (sample, part).

    A block lists the events of a chunk of inputs in their order, then adds up rows of V. Where the
    rank is small, groups of threads take every second or fourth event.

    Args:
        x: numbers, input j of sample i at i · ``x_stride`` + j · ``x_step``.
        unfit: int32, (1,): not 0 if inputs of 0 have to be added up too.
        V, order, ranks, z, x_stride, x_step, v_step, batch, inputs, r_max, inputs_each: see
            :func:`.tiles.project`; parts of the inputs are z's.
    """
    places = cuda.shared.array(CHUNK, int32)
    values = cuda.shared.array(CHUNK, float32)
    ends = cuda.shared.array(THREADS, int32)
    totals = cuda.shared.array(THREADS, float32)
    found = cuda.local.array(EACH, float32)
    thread = cuda.threadIdx.x
    i, part = cuda.blockIdx.x, cuda.blockIdx.y
    rank, row = ranks[i], int64(order[i]) * x_stride
    width = THREADS
    while width > NARROW and width >= 2 * rank:
        width //= 2
    groups, group, lane = THREADS // width, thread // width, thread % width
    every = unfit[0] != 0
    end = min(inputs, (part + 1) * inputs_each)
    for low in range(0, rank, width):
        total = float32(0)
        for start in range(part * inputs_each, end, CHUNK):
            count = 0
            for d in range(EACH):
                place = start + thread * EACH + d
                value = float32(x[row + min(place, end - 1) * x_step])
                found[d] = value
                if place < end and (value != float32(0) or every):
                    count += 1
            cuda.syncthreads()
            ends[thread] = count
            distance = 1
            while distance < THREADS:
                cuda.syncthreads()
                before = ends[thread - distance] if thread >= distance else 0
                cuda.syncthreads()
                ends[thread] += before
                distance *= 2
            to = ends[thread] - count
            for d in range(EACH):
                place = start + thread * EACH + d
                if place < end and (found[d] != float32(0) or every):
                    places[to], values[to] = place, found[d]
                    to += 1
            cuda.syncthreads()
            if low + lane < rank:
                for event in range(group, ends[THREADS - 1], groups):
                    total += values[event] * V[places[event] * v_step + low + lane]
        cuda.syncthreads()
        totals[thread] = total
        cuda.syncthreads()
        if group == 0 and low + lane < rank:
            for other in range(1, groups):
                total += totals[other * width + lane]
            z[(part * batch + i) * r_max + low + lane] = total
