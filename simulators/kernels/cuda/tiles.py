"""Kernels: the two factors on tiles of samples that are sorted by rank.

All work on flat memory, so that a pointer is all that a launch hands over. Samples are numbered by
rank, the largest first; a tile goes as far as the largest rank among its samples, and what lies
beyond a sample's own rank is passed over. Tiles go through shared memory, sums stay in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, float32, int32, int64

from simulators.kernels.cuda.wide import ALIGNMENT, WIDE, load_wide

SAMPLES = 64
"""Samples of a tile."""
RANKS = 32
"""Ranks of a tile of the first stage."""
OUTPUTS = 64
"""Outputs of a tile of the second stage."""
DEPTH = 32
"""Numbers that a tile adds up between two barriers."""
THREADS = 128
ROW = DEPTH + WIDE
"""A row of a tile in shared memory: threads that read four numbers of neighbouring rows at once
then meet no bank twice."""
ACROSS = 8
"""Threads side by side in a tile."""
DOWN = THREADS // ACROSS
"""Threads one below the other."""
SAMPLES_EACH = SAMPLES // DOWN
RANKS_EACH = WIDE
OUTPUTS_EACH = OUTPUTS // ACROSS
LOADERS = THREADS // DEPTH
"""Rows of a tile that are loaded at once."""
SAMPLE_LOADS, FACTOR_LOADS, OUTPUT_LOADS = SAMPLES // LOADERS, DEPTH // LOADERS, OUTPUTS // LOADERS
"""Numbers of each tile that a thread loads."""
SAMPLE_TILE, OUTPUT_TILE, FACTOR_TILE = SAMPLES * ROW, OUTPUTS * ROW, DEPTH * RANKS
"""Numbers of the tiles in shared memory."""
NOT_A_NUMBER = np.float32(np.nan)


def project(
    x: Any,
    V: Any,
    order: Any,
    ranks: Any,
    z: Any,
    x_stride: int,
    x_step: int,
    v_step: int,
    batch: int,
    inputs: int,
    r_max: int,
    inputs_each: int,
    width: int,
) -> None:
    """z_i = V[:, :r_i]ᵀ x_i, of a part of the inputs: block (tile, tile of ranks, part).

    Args:
        x: float32, input j of sample i at i · ``x_stride`` + j · ``x_step``.
        V: float32, (inputs, r_max), rows ``v_step`` apart.
        order: int32, the sample that comes i-th.
        ranks: int32, its rank.
        z: float32, (parts, batch, r_max), rows as in ``order``; receives the sums of each part, in
            each row at least up to its rank.
        x_stride, x_step, v_step: see x and V.
        batch, inputs, r_max: the sizes.
        inputs_each: inputs of a part.
        width: ranks of a bin of :mod:`.sort`.
    """
    x_tile = cuda.shared.array(SAMPLE_TILE, float32, alignment=ALIGNMENT)
    v_tile = cuda.shared.array(FACTOR_TILE, float32, alignment=ALIGNMENT)
    rows = cuda.shared.array(SAMPLES, int64)
    sums = cuda.local.array((SAMPLES_EACH, RANKS_EACH), float32)
    left = cuda.local.array((SAMPLES_EACH, WIDE), float32)
    x_next = cuda.local.array(SAMPLE_LOADS, float32)
    v_next = cuda.local.array(FACTOR_LOADS, float32)
    thread = cuda.threadIdx.x
    first, low, part = cuda.blockIdx.x * SAMPLES, cuda.blockIdx.y * RANKS, cuda.blockIdx.z
    if low >= min(r_max, max(ranks[first], 0) // width * width + width - 1):
        return
    if thread < SAMPLES:
        rows[thread] = int64(order[min(first + thread, batch - 1)]) * x_stride
    cuda.syncthreads()
    across, down = thread % ACROSS, thread // ACROSS
    column, row = thread % DEPTH, thread // DEPTH
    for q in range(SAMPLES_EACH):
        for p in range(RANKS_EACH):
            sums[q, p] = float32(0)
    rank = min(low + column, r_max - 1)
    begin, end = part * inputs_each, min(inputs, (part + 1) * inputs_each)
    for start in range(begin - DEPTH, end, DEPTH):
        if start >= begin:
            cuda.syncthreads()
            for j in range(SAMPLE_LOADS):
                x_tile[(row + j * LOADERS) * ROW + column] = x_next[j]
            for j in range(FACTOR_LOADS):
                v_tile[(row + j * LOADERS) * RANKS + column] = v_next[j]
            cuda.syncthreads()
        # What comes next is on its way while this is added up.
        place = start + DEPTH + column
        inside = min(place, end - 1)
        for j in range(SAMPLE_LOADS):
            value = x[rows[row + j * LOADERS] + inside * x_step]
            x_next[j] = value if place < end else float32(0)
        for j in range(FACTOR_LOADS):
            place = start + DEPTH + row + j * LOADERS
            value = V[min(place, end - 1) * v_step + rank]
            v_next[j] = value if place < end else float32(0)
        if start >= begin:
            for k in range(0, DEPTH, WIDE):
                for q in range(SAMPLES_EACH):
                    numbers = load_wide(x_tile, (down + q * DOWN) * ROW + k)
                    left[q, 0], left[q, 1], left[q, 2], left[q, 3] = numbers
                for d in range(WIDE):
                    numbers = load_wide(v_tile, (k + d) * RANKS + across * RANKS_EACH)
                    for q in range(SAMPLES_EACH):
                        sums[q, 0] += left[q, d] * numbers[0]
                        sums[q, 1] += left[q, d] * numbers[1]
                        sums[q, 2] += left[q, d] * numbers[2]
                        sums[q, 3] += left[q, d] * numbers[3]
    for q in range(SAMPLES_EACH):
        i = first + down + q * DOWN
        for p in range(RANKS_EACH):
            rank = low + across * RANKS_EACH + p
            if i < batch and rank < r_max:
                z[(part * batch + i) * r_max + rank] = sums[q, p]


def expand(
    z: Any,
    U: Any,
    scale: Any,
    bias: Any,
    order: Any,
    ranks: Any,
    y: Any,
    u_step: int,
    y_stride: int,
    y_step: int,
    batch: int,
    outputs: int,
    r_max: int,
    scaled: int,
    biased: int,
    width: int,
) -> None:
    """y_i = U[:, :r_i] (scale[:r_i] · z_i) + bias: block (tile, tile of outputs).

    Args:
        z: float32, (batch, r_max), rows as in ``order``.
        U: float32, (outputs, r_max), rows ``u_step`` apart.
        scale: float32, (r_max,), read if ``scaled``.
        bias: float32, (outputs,), read if ``biased``.
        order: int32, the sample that comes i-th.
        ranks: int32, its rank; negative where the outputs are to be NaN.
        y: float32, output o of sample i at i · ``y_stride`` + o · ``y_step``.
        u_step, y_stride, y_step: see U and y.
        batch, outputs, r_max: the sizes.
        scaled, biased: 1 or 0.
        width: ranks of a bin of :mod:`.sort`.
    """
    z_tile = cuda.shared.array(SAMPLE_TILE, float32, alignment=ALIGNMENT)
    u_tile = cuda.shared.array(OUTPUT_TILE, float32, alignment=ALIGNMENT)
    reach = cuda.shared.array(SAMPLES, int32)
    sums = cuda.local.array((SAMPLES_EACH, OUTPUTS_EACH), float32)
    left = cuda.local.array((SAMPLES_EACH, WIDE), float32)
    right = cuda.local.array((OUTPUTS_EACH, WIDE), float32)
    z_next = cuda.local.array(SAMPLE_LOADS, float32)
    u_next = cuda.local.array(OUTPUT_LOADS, float32)
    thread = cuda.threadIdx.x
    first, low = cuda.blockIdx.x * SAMPLES, cuda.blockIdx.y * OUTPUTS
    across, down = thread % ACROSS, thread // ACROSS
    column, row = thread % DEPTH, thread // DEPTH
    if thread < SAMPLES:
        reach[thread] = ranks[first + thread] if first + thread < batch else 0
    cuda.syncthreads()
    for q in range(SAMPLES_EACH):
        for p in range(OUTPUTS_EACH):
            sums[q, p] = float32(0)
    least = max(ranks[min(first + SAMPLES, batch) - 1], 0) // width * width
    top = min(r_max, max(ranks[first], 0) // width * width + width - 1)
    for start in range(0, top, DEPTH):
        rank = start + column
        inside = min(rank, top - 1)
        for j in range(SAMPLE_LOADS):
            i = min(first + row + j * LOADERS, batch - 1)
            z_next[j] = z[i * r_max + inside]
        for j in range(OUTPUT_LOADS):
            o = min(low + row + j * LOADERS, outputs - 1)
            u_next[j] = U[o * u_step + inside]
        gain = float32(1)
        if scaled:
            gain = scale[inside]
        cuda.syncthreads()
        for j in range(SAMPLE_LOADS):
            within = rank < reach[row + j * LOADERS]
            z_tile[(row + j * LOADERS) * ROW + column] = z_next[j] * gain if within else float32(0)
        for j in range(OUTPUT_LOADS):
            u_tile[(row + j * LOADERS) * ROW + column] = u_next[j] if rank < top else float32(0)
        cuda.syncthreads()
        for k in range(0, DEPTH, WIDE):
            for q in range(SAMPLES_EACH):
                numbers = load_wide(z_tile, (down + q * DOWN) * ROW + k)
                left[q, 0], left[q, 1], left[q, 2], left[q, 3] = numbers
            for p in range(OUTPUTS_EACH):
                numbers = load_wide(u_tile, (across + p * ACROSS) * ROW + k)
                right[p, 0], right[p, 1], right[p, 2], right[p, 3] = numbers
            if start + k + WIDE <= least:
                for d in range(WIDE):
                    for q in range(SAMPLES_EACH):
                        for p in range(OUTPUTS_EACH):
                            sums[q, p] += left[q, d] * right[p, d]
            else:
                # A rank that a sample lacks must not enter, not even as 0 times infinity.
                for q in range(SAMPLES_EACH):
                    left_over = reach[down + q * DOWN] - start - k
                    for d in range(WIDE):
                        if d < left_over:
                            for p in range(OUTPUTS_EACH):
                                sums[q, p] += left[q, d] * right[p, d]
    for q in range(SAMPLES_EACH):
        i = first + down + q * DOWN
        if i < batch:
            target = int64(order[i]) * y_stride
            for p in range(OUTPUTS_EACH):
                o = low + across + p * ACROSS
                if o < outputs:
                    total = sums[q, p]
                    if biased:
                        total += bias[o]
                    y[target + o * y_step] = total if reach[down + q * DOWN] >= 0 else NOT_A_NUMBER
