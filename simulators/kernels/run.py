"""The paths in compiled code: put samples in order, then run the phases, on several threads."""

from __future__ import annotations

import numpy as np
from numba import int64

from simulators.kernels.atomics import (
    load,
    store,
    store_double,
)
from simulators.kernels.chunks import ROWS_IN_CACHE
from simulators.kernels.job import (
    ACTIVE,
    BATCH,
    BIAS,
    BIAS_ROOM,
    BIAS_ROWS,
    BY_BFLOAT16,
    BY_EVENTS,
    COUNTS,
    EXPAND,
    EXPAND_ROUNDED,
    FLOOR,
    INPUTS,
    KNOWN,
    ONES,
    OUTPUTS,
    PANELS,
    PROJECT,
    PROJECT_ROUNDED,
    R_MAX,
    RANKS,
    ROW_BLOCK,
    SCALE,
    SCALE_ROOM,
    SCATTER,
    SPARE,
    TAIL_ROWS,
    TAILS,
    THEN,
    TILES,
    WIDTH,
    X_ROWS,
    Y_ROWS,
    Z_ROWS,
    Z_WIDTH,
    ZEROS,
    Z,
)
from simulators.kernels.layout import Float32Array, Int64Array, Samples
from simulators.kernels.rows import run_row
from simulators.kernels.shares import dismiss, hire, run_phase
from simulators.kernels.tiles import copy_floats
from simulators.kernels.vector import (
    BLOCK_ROWS,
    HALF,
    LANES,
    PANEL,
    TILE_ROWS,
    entry,
    kernel,
    part,
)

_PROJECT_PARTS, _EXPAND_PARTS = 8, 4
"""Chunks per thread, so that one who is held up does not hold up the others: more of the first
stage, where those of higher ranks take longer."""
_TILES_AT_ONCE = 32
"""Tiles of a chunk at most: so many rows between the factors stay in the second cache."""
_NUMBERS_AT_ONCE = 1 << 17
"""Inputs and outputs of a block of samples that pass through both stages, at most, about: they and
the factors stay in the second cache."""
_UNEVEN = 1.1
"""Times its share that a thread may have to do."""


@kernel
def _sort(job: int, ranks: Int64Array, x: Samples, y: Samples) -> None:
    """Number the samples by descending rank, and note where each one's rows lie."""
    batch, r_max = load(job + 8 * BATCH), load(job + 8 * R_MAX)
    counts = load(job + 8 * COUNTS)
    for k in range(r_max + 2):
        store(counts + 8 * k, 0)
    for i in range(batch):
        fetch = counts + 8 * (r_max - ranks[i] + 1)
        store(fetch, load(fetch) + 1)
    for k in range(r_max + 1):
        store(counts + 8 * k + 8, load(counts + 8 * k + 8) + load(counts + 8 * k))
    inputs, outputs = load(job + 8 * X_ROWS), load(job + 8 * Y_ROWS)
    chosen = load(job + 8 * RANKS)
    for i in range(batch):
        fetch = counts + 8 * (r_max - ranks[i])
        number = load(fetch)
        store(fetch, number + 1)
        store(chosen + 8 * number, ranks[i])
        store(inputs + 8 * number, x.ctypes.data + x.strides[0] * i)
        store(outputs + 8 * number, y.ctypes.data + y.strides[0] * i)
    note_reach(job)


@kernel
def note_reach(job: int) -> None:
    """Note of samples in order of their ranks how many reach how far, and fill the last tile."""
    batch, chosen = load(job + 8 * BATCH), load(job + 8 * RANKS)
    outputs = load(job + 8 * Y_ROWS)
    # Rows that only fill the last tile: rank 0, outputs that nobody reads.
    for number in range(batch, batch + 2 * TILE_ROWS):
        store(chosen + 8 * number, 0)
        store(outputs + 8 * number, load(job + 8 * SPARE))
    active, width = load(job + 8 * ACTIVE), load(job + 8 * Z_WIDTH)
    reach = batch
    for v in range(width // HALF):
        while reach and load(chosen + 8 * (reach - 1)) <= v * HALF:
            reach -= 1
        store(active + 8 * v, reach)


@entry(int64, int64)
def link_rows(job: int, room: int) -> None:
    """Note where the samples' rows between the factors and their tails lie, ``room`` of each."""
    width = 4 * load(job + 8 * Z_WIDTH)
    for number in range(room):
        store(load(job + 8 * Z_ROWS) + 8 * number, load(job + 8 * Z) + width * number)
        tail = load(job + 8 * TAILS) + 4 * PANEL * number
        store(load(job + 8 * TAIL_ROWS) + 8 * number, tail)


@kernel
def bounds(samples: Samples) -> tuple[int, int]:
    """Addresses of the first and of the last number of a matrix in memory."""
    low = high = samples.ctypes.data
    for axis in range(2):
        span = (samples.shape[axis] - 1) * samples.strides[axis]
        low, high = low + min(span, 0), high + max(span, 0)
    return low, high


@kernel
def _whole(numbers: Float32Array, without: int, room: int, y: Samples) -> int:
    """Address of numbers in whole panels, which outputs do not change.

    Args:
        numbers: gains or biases, or empty.
        without: address of what stands for none.
        room: address of where they are copied to if need be.
        y: outputs.
    """
    if not numbers.size:
        return without
    start: int = numbers.ctypes.data
    low, high = bounds(y)
    if numbers.size % PANEL == 0 and (start > high or start + numbers.nbytes <= low):
        return start
    copy_floats(start, room, numbers.size)
    return room


@kernel
def _prepare(job: int, scale: Float32Array, bias: Float32Array, y: Samples) -> None:
    """Note where gains and biases lie; 1 and 0 if there are none."""
    ones, zeros = load(job + 8 * ONES), load(job + 8 * ZEROS)
    store(job + 8 * SCALE, _whole(scale, ones, load(job + 8 * SCALE_ROOM), y))
    store(job + 8 * BIAS, _whole(bias, zeros, load(job + 8 * BIAS_ROOM), y))


@part
def run_tiles(
    job: int,
    ranks: Int64Array,
    x: Samples,
    scale: Float32Array,
    bias: Float32Array,
    y: Samples,
    path: int,
    shared: int,
    threads: int,
    gain: float,
) -> None:
    """A call on packed factors: V, then U.

    Args:
        job: address of the fields, those that stay from call to call filled in.
        ranks: (samples,) int64, 0 to r_max.
        x, y: (samples, in) and (samples, out) float32, or on the path ``bfloat16`` that if the job
            says so; neighbours of a row lie side by side.
        scale, bias: (r_max,) and (out,) float32, or empty.
        path: number of any path but ``rows``.
        shared: address of the pool's memory.
        threads: how many work on it, this one included; one does if another call has the workers.
        gain: how many seconds the call takes less with them.
    """
    threads = hire(shared, threads, gain)
    batch = ranks.shape[0]
    store(job + 8 * BATCH, batch)
    store(job + 8 * KNOWN, 0)
    _prepare(job, scale, bias, y)
    _sort(job, ranks, x, y)
    if path == BY_BFLOAT16:
        start = load(job + 8 * BIAS)
        for number in range(batch):
            store(load(job + 8 * BIAS_ROWS) + 8 * number, start)
        store_double(job + 8 * FLOOR, -np.inf)
        divide_rounded(job, threads)
        run_phase(job, PROJECT_ROUNDED, shared, threads)
        run_phase(job, EXPAND_ROUNDED, shared, threads)
    else:
        run_both(job, SCATTER if path == BY_EVENTS else PROJECT, EXPAND, shared, threads)
    dismiss(shared, threads)


@part
def run_both(job: int, first: int, second: int, shared: int, threads: int) -> None:
    """Both stages of a call whose samples are in order: two phases, or one of blocks of samples."""
    if divide_samples(job, threads):
        store(job + 8 * THEN, second)
        run_phase(job, first, shared, threads)
        store(job + 8 * THEN, 0)
    else:
        divide(job, first, threads)
        run_phase(job, first, shared, threads)
        run_phase(job, second, shared, threads)


@kernel
def divide_samples(job: int, threads: int) -> bool:
    """Divide a call by samples alone, whose blocks pass through both stages, if that is best.

    So whoever computed V of samples finds what lies between the factors in their own caches, and
    threads await each other once. It is best where U stays in the second cache, there is enough for
    all threads, and one of them alone need not fetch V again and again.
    """
    ranks, panels = load(job + 8 * RANKS), (load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL
    if panels * load(ranks) > ROWS_IN_CACHE:
        return False
    tiles = (load(job + 8 * BATCH) + TILE_ROWS - 1) // TILE_ROWS
    parts = 1 if threads == 1 else _PROJECT_PARTS * threads
    far = _input_factor_is_far(job)
    if far and (threads == 1 or tiles < parts):
        return False
    if threads > 1 and tiles < parts and not _balanced(ranks, tiles, threads):
        return False
    most = _TILES_AT_ONCE
    if not far:  # Else V is fetched for each block.
        numbers = TILE_ROWS * (load(job + 8 * INPUTS) + load(job + 8 * OUTPUTS))
        most = min(most, max(1, _NUMBERS_AT_ONCE // numbers))
    block = min(most, (tiles + parts - 1) // parts)
    store(job + 8 * ROW_BLOCK, block * TILE_ROWS)
    store(job + 8 * WIDTH, load(job + 8 * Z_WIDTH) // LANES)
    store(job + 8 * TILES, block)
    store(job + 8 * PANELS, panels)
    return True


@kernel
def _input_factor_is_far(job: int) -> bool:
    """Whether V, up to the largest rank in use, is too large to stay in the second cache."""
    groups = (load(load(job + 8 * RANKS)) + LANES - 1) // LANES
    far: bool = groups * load(job + 8 * INPUTS) > 2 * ROWS_IN_CACHE
    return far


@kernel
def _balanced(ranks: int, tiles: int, threads: int) -> bool:
    """Whether tiles that threads take one by one keep all of them busy to the end, about."""
    total, first, last = 0, 0, 0
    for tile in range(tiles):
        last = 0
        for row in range(tile * TILE_ROWS, (tile + 1) * TILE_ROWS):
            last += load(ranks + 8 * row)
        first = first if tile else last
        total += last
    share = total / threads
    return max(first, share + last * (threads - 1) / threads) <= _UNEVEN * share


@kernel
def divide(job: int, phase: int, threads: int) -> None:
    """Choose the chunks of a call whose samples are in order, and whose first stage is ``phase``:
    some for each thread, few enough rows to stay in the caches.
    """
    store(job + 8 * THEN, 0)  # Whatever a forked process has left there.
    tiles = (load(job + 8 * BATCH) + TILE_ROWS - 1) // TILE_ROWS
    parts = 1 if threads == 1 else _PROJECT_PARTS * threads
    block = min(_TILES_AT_ONCE, (tiles + parts - 1) // parts)
    at_once = min(_TILES_AT_ONCE, tiles)
    if phase == PROJECT:
        enough = (tiles + block - 1) // block >= parts
        store(job + 8 * WIDTH, load(job + 8 * Z_WIDTH) // LANES if enough else 1)
        groups = (load(load(job + 8 * RANKS)) + LANES - 1) // LANES
        fills = groups * (tiles // at_once) >= _EXPAND_PARTS * threads
        if not enough and fills and _input_factor_is_far(job):
            block = at_once  # So that V is read once.
    store(job + 8 * ROW_BLOCK, block * TILE_ROWS)
    panels = (load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL
    parts = 1 if threads == 1 else _EXPAND_PARTS * threads
    store(job + 8 * TILES, at_once)
    across = (tiles + at_once - 1) // at_once
    store(job + 8 * PANELS, max(1, panels * across // max(across, parts)))


@kernel
def divide_rounded(job: int, threads: int) -> None:
    """As :func:`divide`, of a call that rounds: a block of samples fills matrix registers."""
    batch = load(job + 8 * BATCH)
    whole = threads == 1 or batch >= BLOCK_ROWS * _PROJECT_PARTS * threads
    store(job + 8 * ROW_BLOCK, BLOCK_ROWS if whole else BLOCK_ROWS // 2)
    panels = (load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL
    parts = 1 if threads == 1 else _EXPAND_PARTS * threads
    store(job + 8 * PANELS, max(1, panels // parts))


@part
def run_rows(
    job: int,
    ranks: Int64Array,
    x: Float32Array,
    scale: Float32Array,
    bias: Float32Array,
    y: Float32Array,
) -> None:
    """A call sample by sample; arguments as of :func:`run_tiles`."""
    _prepare(job, scale, bias, y)
    x_rows, y_rows = load(job + 8 * X_ROWS), load(job + 8 * Y_ROWS)
    for i in range(ranks.shape[0]):
        store(x_rows + 8 * i, x.ctypes.data + x.strides[0] * i)
        store(y_rows + 8 * i, y.ctypes.data + y.strides[0] * i)
        store(load(job + 8 * RANKS) + 8 * i, ranks[i])
        run_row(job, i)
