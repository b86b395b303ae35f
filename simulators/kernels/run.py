"""The paths in compiled code: put samples in order, then run the phases, on several threads."""

from __future__ import annotations

import numpy as np
from numba import int64

from simulators.kernels.atomics import (
    add_shared,
    exchange,
    give_way,
    load,
    load_shared,
    store,
    store_double,
    store_shared,
)
from simulators.kernels.chunks import ROWS_IN_CACHE, chunks_of_phase, run_chunk
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
    PHASE,
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
from simulators.kernels.pool import BUSY, DONE, JOB, SHARE_STEP, SHARES, TICKET
from simulators.kernels.rows import run_row
from simulators.kernels.sleep import sleep, wake
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

_BITS = 24
"""Of a ticket: so many number the first chunk that is left of a share, so many the one after the
last, the rest count the threads."""
_FIELD = (1 << _BITS) - 1
_LOOKS_AT_ONCE = 200
"""How often a worker looks for work before it lets others have the core."""
_LOOKS = 1000 * _LOOKS_AT_ONCE
"""How often a worker looks in vain before it sleeps: for about a millisecond."""
_LOOKS_BEFORE_GIVING_WAY = 2000
"""How often a call looks for its last chunks before it lets others have the core."""
_PROJECT_PARTS, _EXPAND_PARTS = 8, 4
"""Chunks per thread, so that one who is held up does not hold up the others: more of the first
stage, where those of higher ranks take longer."""
_TILES_AT_ONCE = 32
"""Tiles of a chunk at most: so many rows between the factors stay in the second cache."""


@kernel
def _share(shared: int, thread: int) -> int:
    """Address of a thread's share of a call."""
    return shared + 8 * (SHARES + SHARE_STEP * thread)


@kernel
def _take(share: int, thread: int, from_end: bool) -> int:
    """A chunk of a share that nobody has taken, or -1 if none is left for this thread."""
    while True:
        ticket: int = load_shared(share + 8 * TICKET)
        first, end = ticket & _FIELD, ticket >> _BITS & _FIELD
        if first >= end or thread >= ticket >> 2 * _BITS:
            return -1
        if exchange(share + 8 * TICKET, ticket, ticket - (1 << _BITS) if from_end else ticket + 1):
            return end - 1 if from_end else first


@kernel
def _threads_of_more(share: int) -> int:
    """Threads of the call that has left chunks of a share; 0 if there are none."""
    ticket: int = load_shared(share + 8 * TICKET)
    return ticket >> 2 * _BITS if ticket & _FIELD < ticket >> _BITS & _FIELD else 0


@kernel
def _work(shared: int, thread: int, threads: int) -> None:
    """Do a thread's own share of a call, then what others have left of theirs, from its end.

    So in call after call a core finds most of what it reads and writes in its own caches.
    """
    own = _share(shared, thread)
    for number in range(thread, thread + threads):
        share = _share(shared, number % threads)
        chunk = _take(share, thread, share != own)
        while chunk >= 0:
            # A call goes on only when all chunks are done, so the job is the one this chunk is of.
            run_chunk(load(share + 8 * JOB), chunk, thread)
            add_shared(own + 8 * DONE, 1)
            chunk = _take(share, thread, share != own)


@entry(int64, int64)
def serve(shared: int, worker: int) -> None:
    """Work on whatever calls leave at ``shared``; sleep where there has been nothing for long."""
    vain = 0
    while True:
        threads = _threads_of_more(_share(shared, worker))
        if not threads and vain % _LOOKS_AT_ONCE == 0:  # Its share may have gone while it slept.
            threads = _threads_of_more(_share(shared, 0))
        if worker < threads:
            _work(shared, worker, threads)
            vain = 0
        elif vain < _LOOKS:
            if vain % _LOOKS_AT_ONCE == 0:
                give_way()
            vain += 1
        else:
            sleep(shared)
            vain = 0


@kernel
def hire(shared: int, threads: int, gain: float) -> int:
    """How many threads a call gets, itself included: one while another call has the workers.

    Args:
        shared: address of the pool's memory.
        threads: how many it has work for.
        gain: how many seconds it takes less with them.
    """
    if threads == 1 or not exchange(shared + 8 * BUSY, 0, 1):
        return 1
    wake(shared, threads - 1, gain)
    return threads


@kernel
def dismiss(shared: int, threads: int) -> None:
    """Leave the workers, if a call got some, to other calls."""
    if threads > 1:
        store_shared(shared + 8 * BUSY, 0)


@part
def run_phase(job: int, phase: int, shared: int, threads: int) -> None:
    """All chunks of a phase; with more than one thread, workers take some of them."""
    store(job + 8 * PHASE, phase)
    chunks = chunks_of_phase(job)
    if threads == 1 or chunks < 2:
        for chunk in range(chunks):
            run_chunk(job, chunk, 0)
    else:
        _share_out(job, chunks, shared, threads)


@kernel
def _share_out(job: int, chunks: int, shared: int, threads: int) -> None:
    """All chunks of a phase, a share of them for each thread."""
    for thread in range(threads):
        share = _share(shared, thread)
        store(share + 8 * DONE, 0)
        store(share + 8 * JOB, job)
    first = 0
    for thread in range(threads):  # Now that none can be taken before all are counted from 0.
        end = first + (chunks - first + threads - thread - 1) // (threads - thread)
        ticket = threads << 2 * _BITS | end << _BITS | first
        store_shared(_share(shared, thread) + 8 * TICKET, ticket)
        first = end
    _work(shared, 0, threads)
    looks = 0
    while True:
        done = 0
        for thread in range(threads):
            done += load_shared(_share(shared, thread) + 8 * DONE)
        if done == chunks:
            return
        looks += 1
        if looks > _LOOKS_BEFORE_GIVING_WAY:
            give_way()


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
        first, second = PROJECT_ROUNDED, EXPAND_ROUNDED
    else:
        first, second = SCATTER if path == BY_EVENTS else PROJECT, EXPAND
        divide(job, first, threads)
    for phase in (first, second):
        run_phase(job, phase, shared, threads)
    dismiss(shared, threads)


@kernel
def divide(job: int, phase: int, threads: int) -> None:
    """Choose the chunks of a call whose samples are in order, and whose first stage is ``phase``:
    some for each thread, few enough rows to stay in the caches.
    """
    tiles = (load(job + 8 * BATCH) + TILE_ROWS - 1) // TILE_ROWS
    parts = 1 if threads == 1 else _PROJECT_PARTS * threads
    block = min(_TILES_AT_ONCE, (tiles + parts - 1) // parts)
    enough = (tiles + block - 1) // block >= parts
    at_once = min(_TILES_AT_ONCE, tiles)
    if phase == PROJECT:
        store(job + 8 * WIDTH, load(job + 8 * Z_WIDTH) // LANES if enough else 1)
        groups = (load(load(job + 8 * RANKS)) + LANES - 1) // LANES
        far = groups * load(job + 8 * INPUTS) > 2 * ROWS_IN_CACHE
        if not enough and far and groups * (tiles // at_once) >= _EXPAND_PARTS * threads:
            block = at_once  # So that V is read once.
    store(job + 8 * ROW_BLOCK, block * TILE_ROWS)
    panels = (load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL
    if threads > 1 and enough and panels * load(job + 8 * R_MAX) <= ROWS_IN_CACHE:
        # Whoever computed V of samples computes U, too, and finds what lies between.
        store(job + 8 * TILES, block)
        store(job + 8 * PANELS, panels)
        return
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
