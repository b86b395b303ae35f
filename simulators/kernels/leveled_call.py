"""A call at given levels, in compiled code."""

from __future__ import annotations

from numba import int64

from simulators.kernels.atomics import load
from simulators.kernels.chain_call import (
    hire_for,
    most_threads,
    part_of,
    parts_of,
    run_full,
    run_leveled,
    seconds_saved,
    variable,
)
from simulators.kernels.job import (
    CHAIN_FIELDS,
    DONE,
    JOB,
    LAYER,
    LEVELS,
    OUT,
    OUT_STEP,
    SHARED,
    UNREADY,
)
from simulators.kernels.shares import dismiss
from simulators.kernels.vector import entry, kernel


@kernel
def _first_wrong(table: int, layers: int, batch: int, levels: int) -> int:
    """The first sample whose level is none of all layers, or DONE."""
    for number in range(layers):
        row = table + 8 * CHAIN_FIELDS * number
        count = load(row + 8 * LEVELS)
        if not load(row + 8 * LAYER):
            break
        for i in range(batch):
            level = load(levels + 8 * i)
            if level < 0 or level >= count:
                return i
    return DONE


@kernel
def _gain_of_all(table: int, layers: int, batch: int, levels: int, threads: int) -> float:
    """How many seconds a chain takes less on so many threads, about; 0 if it takes more."""
    gain = 0.0
    for number in range(layers):
        row = table + 8 * CHAIN_FIELDS * number
        layer = load(row + 8 * LAYER)
        if layer:
            total = 0
            for i in range(batch):
                total += load(load(layer) + 8 * load(levels + 8 * i))
            gain += seconds_saved(load(row + 8 * JOB), batch, total // batch, threads)
    return gain


@kernel
def _run_layers(
    table: int,
    layers: int,
    batch: int,
    x: int,
    x_step: int,
    levels: int,
    begin: int,
    begin_step: int,
    threads: int,
    first: int,
) -> None:
    """All layers on some samples of a batch, from the ``first`` on; other arguments are those of
    :func:`run_levels`.
    """
    x, levels, nowhere = x + x_step * first, levels + 8 * first, variable(0)
    if begin:
        begin += begin_step * first
    for number in range(layers):
        row = table + 8 * CHAIN_FIELDS * number
        y, y_step = load(row + 8 * OUT), load(row + 8 * OUT_STEP)
        if number == layers - 1:
            y += y_step * first
        if not load(row + 8 * LAYER):
            run_full(load(row + 8 * JOB), batch, x, x_step, y, y_step, threads)
            break
        run_leveled(
            row,
            batch,
            x,
            x_step,
            nowhere,
            y,
            y_step,
            levels,
            begin,
            begin_step,
            threads,
        )
        x, x_step, begin, begin_step = y, y_step, nowhere, nowhere


@entry(*[int64] * 9)
def run_levels(
    table: int,
    layers: int,
    batch: int,
    at_once: int,
    x: int,
    x_step: int,
    levels: int,
    begin: int,
    begin_step: int,
) -> int:
    """Layers one after the other, at given levels.

    Args:
        table, layers, batch, at_once, x, x_step: as of
            :func:`simulators.kernels.gated_call.run_chain`.
        levels: address of each sample's level, int64.
        begin: address of what the first layer's outputs begin with, rows of float32 in whole
            panels that lie ``begin_step`` bytes apart; 0 for its biases.

    Returns:
        DONE; or, with nothing done, the first sample whose level is out of range, or UNREADY where
        more threads would pay than have been started.
    """
    wrong = _first_wrong(table, layers, batch, levels)
    if wrong != DONE:
        return wrong
    threads = most_threads(table, layers)
    gain = _gain_of_all(table, layers, batch, levels, threads)
    threads = hire_for(table, threads, gain)
    if not threads:
        return UNREADY
    parts = parts_of(batch, at_once, threads)
    for number in range(parts):
        first, count = part_of(batch, parts, number)
        _run_layers(table, layers, count, x, x_step, levels, begin, begin_step, threads, first)
    dismiss(load(load(table + 8 * JOB) + 8 * SHARED), threads)
    return DONE
