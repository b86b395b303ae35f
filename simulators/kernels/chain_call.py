"""What all calls of chains do, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64

from simulators.kernels.atomics import load, load_double, load_shared, store, store_double
from simulators.kernels.job import (
    BATCH,
    BIAS,
    BIAS_ROWS,
    BY_TILES,
    CALL_THREADS,
    CHAIN_FIELDS,
    COUNTS,
    EXPAND,
    EXPAND_EACH,
    EXPAND_FLOORED,
    EXPAND_ROUNDED,
    FEATURES,
    FLOOR,
    HALVES,
    INPUTS,
    JOB,
    KNOWN,
    LAYER,
    LEVELS,
    OUTPUTS,
    PROJECT,
    PROJECT_ROUNDED,
    R_MAX,
    RANKS,
    RATES,
    RECTIFIED,
    ROUNDS,
    SHARED,
    X_ROWS,
    Y_ROWS,
    Z_ROWS,
    Z_WIDTH,
    Z,
)
from simulators.kernels.model import HAND_OVER_S
from simulators.kernels.pool import THREADS, WORKERS
from simulators.kernels.run import (
    divide,
    divide_rounded,
    divide_samples,
    note_reach,
    run_both,
)
from simulators.kernels.shares import hire, run_phase
from simulators.kernels.vector import BFLOAT16, BLOCK_ROWS, HALF, PANEL, TILE_ROWS, kernel, part

_int64: Any = int64
_ROUNDED_FROM = 8 if BFLOAT16 else 1 << 62
"""Samples from which products in bfloat16 save time, if there are instructions for them: see the
Xeon's table in ``docs/kernels.md``."""


@part
def variable(value: int) -> int:
    """A number as an int64: of a constant Numba would compile a version of its own for callees."""
    found: int = _int64(value)
    return found


@kernel
def seconds_saved(job: int, batch: int, rank: int, threads: int) -> float:
    """How many seconds V alone takes less on so many threads, at a rank; 0 if it takes more."""
    padded = (rank + HALF - 1) // HALF * HALF
    tiles = (batch + TILE_ROWS - 1) // TILE_ROWS
    rates = load(job + 8 * RATES) + 8 * FEATURES * BY_TILES
    alone = (
        padded
        * load(job + 8 * INPUTS)
        * (batch * load_double(rates + 16) + tiles * load_double(rates + 24))
    )
    gain: float = max(0.0, alone - alone / threads - HAND_OVER_S)
    return gain


@kernel
def most_threads(table: int, layers: int) -> int:
    """How many threads a call may have: as many as are allowed, and have memory in every job."""
    threads: int = load_shared(load(load(table + 8 * JOB) + 8 * SHARED) + 8 * THREADS)
    for number in range(layers):
        job = load(table + 8 * (CHAIN_FIELDS * number + JOB))
        threads = min(threads, load(job + 8 * CALL_THREADS))
    return threads


@kernel
def hire_for(table: int, threads: int, gain: float) -> int:
    """How many threads a chain gets; 0, with nothing done, where workers have yet to be started.

    Args:
        table: address of the layers' fields.
        threads: how many it may have.
        gain: how many seconds it takes less with them; 0 if it takes more.
    """
    shared = load(load(table + 8 * JOB) + 8 * SHARED)
    wanted = threads if gain > 0.0 else 1
    if wanted - 1 > load_shared(shared + 8 * WORKERS):
        return 0
    hired: int = hire(shared, wanted, gain)
    return hired


@kernel
def parts_of(batch: int, at_once: int, threads: int) -> int:
    """How many parts of a batch pass through all layers one after the other: of about ``at_once``
    samples on one thread, one on more.
    """
    return 1 if threads > 1 else max(1, batch // max(at_once, BLOCK_ROWS))


@kernel
def part_of(batch: int, parts: int, number: int) -> tuple[int, int]:
    """The first sample of a part, which begins with a whole block, and how many it has."""
    blocks = (batch + BLOCK_ROWS - 1) // BLOCK_ROWS
    first = number * blocks // parts * BLOCK_ROWS
    end = min(batch, (number + 1) * blocks // parts * BLOCK_ROWS)
    return first, end - first


@part
def run_stages(job: int, rounds: bool, start: int, threads: int) -> None:
    """V, then U, of samples that are in order.

    Args:
        job: address of the fields.
        rounds: whether numbers are rounded to bfloat16.
        start: address of what all samples' outputs begin with; 0 if each has its own.
        threads: how many work on it.
    """
    store(job + 8 * BIAS, start)
    shared = load(job + 8 * SHARED)
    if rounds:
        run_phase(job, PROJECT_ROUNDED, shared, threads)
        run_phase(job, EXPAND_ROUNDED, shared, threads)
    else:
        run_both(job, PROJECT, EXPAND_FLOORED if start else EXPAND_EACH, shared, threads)


@part
def arrange(
    job: int,
    batch: int,
    count: int,
    levels: int,
    ranks: int,
    starts: int,
    x: int,
    x_step: int,
    which: int,
    y: int,
    y_step: int,
    begin: int,
    begin_step: int,
) -> None:
    """Number the samples by descending level, and note where each one's rows lie.

    Args:
        job: address of the fields.
        batch: samples.
        count: levels.
        levels: address of each sample's level, int64.
        ranks: address of each level's rank, int64.
        starts: address of what each level's outputs begin with, in whole panels.
        x, x_step, y, y_step: addresses of inputs and outputs, and bytes from row to row.
        which: address of the number of each sample's row of inputs, int64; 0 if they are in order.
        begin, begin_step: the same of what each sample's outputs begin with, in the place of
            ``starts`` if ``begin`` is not 0.
    """
    counts = load(job + 8 * COUNTS)
    for k in range(count + 1):
        store(counts + 8 * k, 0)
    for i in range(batch):
        fetch = counts + 8 * (count - load(levels + 8 * i))
        store(fetch, load(fetch) + 1)
    for k in range(count):
        store(counts + 8 * k + 8, load(counts + 8 * k + 8) + load(counts + 8 * k))
    x_rows, y_rows, z_rows = load(job + 8 * X_ROWS), load(job + 8 * Y_ROWS), load(job + 8 * Z_ROWS)
    chosen, begins, z = load(job + 8 * RANKS), load(job + 8 * BIAS_ROWS), load(job + 8 * Z)
    width = 4 * load(job + 8 * Z_WIDTH)
    start_step = 4 * ((load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL * PANEL)
    for i in range(batch):
        level = load(levels + 8 * i)
        fetch = counts + 8 * (count - 1 - level)
        number = load(fetch)
        store(fetch, number + 1)
        store(chosen + 8 * number, load(ranks + 8 * level))
        store(x_rows + 8 * number, x + x_step * (load(which + 8 * i) if which else i))
        store(y_rows + 8 * number, y + y_step * i)
        store(z_rows + 8 * number, z + width * i)
        own = begin + begin_step * i if begin else starts + start_step * level
        store(begins + 8 * number, own)
    for number in range(batch, batch + TILE_ROWS):
        store(begins + 8 * number, starts)
    note_reach(job)


@kernel
def run_leveled(
    row: int,
    batch: int,
    x: int,
    x_step: int,
    which: int,
    y: int,
    y_step: int,
    levels: int,
    begin: int,
    begin_step: int,
    threads: int,
) -> None:
    """A layer at given levels.

    Args:
        row: address of its fields.
        batch, x, x_step, which, y, y_step, levels, begin, begin_step: as of :func:`arrange`.
        threads: how many work on it.
    """
    job, layer, count = load(row + 8 * JOB), load(row + 8 * LAYER), load(row + 8 * LEVELS)
    ranks, starts = load(layer), load(layer + 8)
    store(job + 8 * BATCH, batch)
    store(job + 8 * KNOWN, 0)
    store_double(job + 8 * FLOOR, 0.0 if load(row + 8 * RECTIFIED) else -np.inf)
    arrange(
        job,
        batch,
        count,
        levels,
        ranks,
        starts,
        x,
        x_step,
        which,
        y,
        y_step,
        begin,
        begin_step,
    )
    common = starts if load(layer + 40) and not begin else 0
    run_stages(job, prepare_rounding(job, batch, threads), common, threads)


@part
def prepare_rounding(job: int, batch: int, threads: int) -> bool:
    """Whether a layer's call rounds numbers to bfloat16; if so, it is divided."""
    rounds = batch >= _ROUNDED_FROM and load(job + 8 * ROUNDS) != 0
    if rounds:
        store(job + 8 * HALVES, 0)
        divide_rounded(job, threads)
    return rounds


@part
def run_full(job: int, batch: int, x: int, x_step: int, y: int, y_step: int, threads: int) -> None:
    """A full matrix, as the second stage of a call whose samples all have the full rank."""
    store(job + 8 * BATCH, batch)
    rank, chosen = load(job + 8 * R_MAX), load(job + 8 * RANKS)
    z_rows, y_rows = load(job + 8 * Z_ROWS), load(job + 8 * Y_ROWS)
    for i in range(batch):
        store(chosen + 8 * i, rank)
        store(z_rows + 8 * i, x + x_step * i)
        store(y_rows + 8 * i, y + y_step * i)
        store(load(job + 8 * BIAS_ROWS) + 8 * i, load(job + 8 * BIAS))
    note_reach(job)
    store(job + 8 * KNOWN, load(job + 8 * Z_WIDTH))
    store_double(job + 8 * FLOOR, -np.inf)
    shared = load(job + 8 * SHARED)
    if prepare_rounding(job, batch, threads):
        run_phase(job, PROJECT_ROUNDED, shared, threads)
        run_phase(job, EXPAND_ROUNDED, shared, threads)
    else:
        if not divide_samples(job, threads):
            divide(job, variable(EXPAND), threads)
        run_phase(job, EXPAND, shared, threads)
