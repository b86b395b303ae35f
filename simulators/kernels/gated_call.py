"""A call in which a gate chooses the ranks, in compiled code."""

from __future__ import annotations

import numpy as np
from numba import float32, int64

from simulators.kernels.atomics import (
    load,
    load_double,
    load_float,
    store,
    store_double,
)
from simulators.kernels.chain_call import (
    arrange,
    hire_for,
    most_threads,
    part_of,
    parts_of,
    prepare_rounding,
    run_full,
    run_stages,
    seconds_saved,
    variable,
)
from simulators.kernels.job import (
    BATCH,
    CHAIN_FIELDS,
    DONE,
    FLOOR,
    JOB,
    KNOWN,
    LAYER,
    LEVELS,
    OUT,
    OUT_STEP,
    PRICE,
    PROJECT,
    PROJECT_FIRST,
    RANKS,
    RECTIFIED,
    SHARED,
    UNREADY,
    X_ROWS,
    Z_ROWS,
    Z_WIDTH,
    Z,
)
from simulators.kernels.run import divide, note_reach
from simulators.kernels.shares import dismiss, run_phase
from simulators.kernels.tiles import dot_floats
from simulators.kernels.vector import HALF, LANES, entry, kernel, part


@part
def _all_at_the_first(job: int, batch: int, rank: int, x: int, x_step: int) -> None:
    """Lay the samples out in the order of the input, at the rank of the lowest level."""
    store(job + 8 * BATCH, batch)
    store(job + 8 * KNOWN, 0)
    inputs, ranks, z_rows = load(job + 8 * X_ROWS), load(job + 8 * RANKS), load(job + 8 * Z_ROWS)
    z, width = load(job + 8 * Z), 4 * load(job + 8 * Z_WIDTH)
    for i in range(batch):
        store(inputs + 8 * i, x + x_step * i)
        store(ranks + 8 * i, rank)
        store(z_rows + 8 * i, z + width * i)
    note_reach(job)


@part
def _choose(
    job: int,
    batch: int,
    count: int,
    rank: int,
    weight: int,
    bias: int,
    cost: int,
    price: float,
    levels: int,
) -> None:
    """Write the level of each sample: gates on before the first that is off."""
    z, width = load(job + 8 * Z), 4 * load(job + 8 * Z_WIDTH)
    for i in range(batch):
        level = 0
        while level < count - 1:
            gain = dot_floats(z + width * i, weight + 4 * rank * level, rank)
            least = price * load_float(cost + 4 * level)
            if not gain + load_float(bias + 4 * level) > least:
                break
            level += 1
        store(levels + 8 * i, level)


@part
def _run_layer(
    job: int,
    layer: int,
    count: int,
    price: float,
    batch: int,
    x: int,
    x_step: int,
    y: int,
    y_step: int,
    chosen: int,
    threads: int,
) -> None:
    """A layer of a chain; arguments as of :func:`run_chain` and of its fields."""
    ranks, starts, weight = load(layer), load(layer + 8), load(layer + 16)
    bias, cost = load(layer + 24), load(layer + 32)
    rank, shared = load(ranks), load(job + 8 * SHARED)
    _all_at_the_first(job, batch, rank, x, x_step)
    rounds = prepare_rounding(job, batch, threads)
    if rounds:
        run_phase(job, PROJECT_FIRST, shared, threads)
    else:
        divide(job, variable(PROJECT), threads)
        run_phase(job, PROJECT, shared, threads)
    _choose(job, batch, count, rank, weight, bias, cost, price, chosen)
    arrange(job, batch, count, chosen, ranks, starts, x, x_step, 0, y, y_step, 0, 0)
    step = LANES if rounds else HALF
    store(job + 8 * KNOWN, (rank + step - 1) // step * step)
    run_stages(job, rounds, starts if load(layer + 40) else 0, threads)
    for i in range(batch):
        store(chosen + 8 * i, load(ranks + 8 * load(chosen + 8 * i)))


@kernel
def _gain_of_all(table: int, layers: int, batch: int, threads: int) -> float:
    """How many seconds a chain takes less on so many threads, at least; 0 if it takes more."""
    gain = 0.0
    for number in range(layers):
        row = table + 8 * CHAIN_FIELDS * number
        layer = load(row + 8 * LAYER)
        if layer:
            gain += seconds_saved(load(row + 8 * JOB), batch, load(load(layer)), threads)
    return gain


@kernel
def _run_layers(
    table: int,
    layers: int,
    batch: int,
    x: int,
    x_step: int,
    chosen: int,
    chosen_step: int,
    threads: int,
    first: int,
) -> None:
    """All layers on some samples of a batch, from the ``first`` on; what each layer chooses lies
    ``chosen_step`` bytes apart, and other arguments are those of :func:`run_chain`.
    """
    x, chosen = x + x_step * first, chosen + 8 * first
    for number in range(layers):
        row = table + 8 * CHAIN_FIELDS * number
        job, layer, count = load(row + 8 * JOB), load(row + 8 * LAYER), load(row + 8 * LEVELS)
        price = float32(load_double(row + 8 * PRICE))
        y, y_step = load(row + 8 * OUT), load(row + 8 * OUT_STEP)
        if number == layers - 1:
            y += y_step * first
        if not layer:
            run_full(job, batch, x, x_step, y, y_step, threads)
            break
        store_double(job + 8 * FLOOR, 0.0 if load(row + 8 * RECTIFIED) else -np.inf)
        _run_layer(job, layer, count, price, batch, x, x_step, y, y_step, chosen, threads)
        x, x_step, chosen = y, y_step, chosen + chosen_step


@entry(*[int64] * 7)
def run_chain(
    table: int, layers: int, batch: int, at_once: int, x: int, x_step: int, chosen: int
) -> int:
    """Layers one after the other, at levels that their gates choose.

    Args:
        table: address of the layers' fields, see :data:`simulators.kernels.job.LAYER`; their jobs
            have room for ``batch`` samples, and the layout that tiles read.
        layers: how many, a full matrix included.
        batch: samples.
        at_once: how many of them pass through all layers before others do, on one thread, about.
        x: address of the inputs, rows of float32 that lie ``x_step`` bytes apart.
        chosen: address that receives each sample's rank in the first layer, int64, then those in
            the next.

    Returns:
        DONE; or UNREADY, with nothing done, where more threads would pay than have been started.
    """
    threads = most_threads(table, layers)
    threads = hire_for(table, threads, _gain_of_all(table, layers, batch, threads))
    if not threads:
        return UNREADY
    parts = parts_of(batch, at_once, threads)
    for number in range(parts):
        first, count = part_of(batch, parts, number)
        _run_layers(table, layers, count, x, x_step, chosen, 8 * batch, threads, first)
    dismiss(load(load(table + 8 * JOB) + 8 * SHARED), threads)
    return DONE
