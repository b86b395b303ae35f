"""The parts of a call that rounds numbers to bfloat16, that threads take one by one."""

from __future__ import annotations

from numba import float32

from simulators.kernels.atomics import load, load_double
from simulators.kernels.bfloat16 import (
    BLOCK_STEP,
    STEP_BYTES,
    begin_products,
    copy_row,
    end_products,
    multiply_narrow,
    multiply_wide,
    put_block,
    put_rounded_block,
    round_block,
    round_row,
)
from simulators.kernels.job import (
    BATCH,
    BIAS_ROWS,
    FLOOR,
    HALVES,
    INPUTS,
    KNOWN,
    OUTPUTS,
    PANELS,
    RANKS,
    ROUNDED_STEP,
    ROUNDED_Z,
    ROW_BLOCK,
    SCALE,
    STAGE_STEP,
    STAGES,
    U_PAIRS,
    V_PAIRS,
    X_ROWS,
    X_STEP,
    Y_ROWS,
    Z_ROWS,
    Z_WIDTH,
)
from simulators.kernels.tiles import copy_floats
from simulators.kernels.vector import BLOCK_ROWS, LANES, PANEL, part

_SUMS_BYTES = BLOCK_ROWS * BLOCK_STEP
_PANELS_AT_ONCE = 32
"""Panels of U that stay in the second cache while samples pass: outputs of a sample that are
written soon one after the other reach the memory in a third less time."""


@part
def _stage(job: int, first: int, rows: int, worker: int) -> int:
    """Round inputs of samples from ``first`` on into the thread's block; returns its address."""
    x: int = load(job + 8 * STAGES) + worker * load(job + 8 * STAGE_STEP) + _SUMS_BYTES
    inputs, step = load(job + 8 * INPUTS), load(job + 8 * X_STEP)
    width = (inputs + PANEL - 1) // PANEL * PANEL
    for i in range(rows):
        source = load(load(job + 8 * X_ROWS) + 8 * (first + i))
        if load(job + 8 * HALVES):
            copy_row(source, inputs, x + step * i, width)
        else:
            round_row(source, inputs, x + step * i, width)
    return x


@part
def project_first(job: int, chunk: int, worker: int) -> None:
    """V on a block of samples that all have one rank; what lies between stays float32."""
    block, inputs = load(job + 8 * ROW_BLOCK), load(job + 8 * INPUTS)
    first = chunk * block
    rows = min(block, load(job + 8 * BATCH) - first)
    x, x_step = _stage(job, first, rows, worker), load(job + 8 * X_STEP)
    sums, steps = x - _SUMS_BYTES, (inputs + PANEL - 1) // PANEL
    table, table_step = load(job + 8 * V_PAIRS), steps * STEP_BYTES
    rank, z = load(load(job + 8 * RANKS)), load(job + 8 * Z_ROWS) + 8 * first
    begin_products()
    for low in range(0, rank, PANEL):
        panel = table + low // LANES * table_step
        multiply_wide(x, x_step, steps, panel, table_step, sums, rows)
        for i in range(rows):
            copy_floats(sums + BLOCK_STEP * i, load(z + 8 * i) + 4 * low, PANEL)
    end_products()


@part
def project_rounded(job: int, chunk: int, worker: int) -> None:
    """V on a block of samples, up to the rank of the first; products in bfloat16, as are results.

    Ranks that are known, as float32 in the samples' rows of Z, are not computed again. What is
    written reaches as far as the second stage reads, whose blocks may be larger.
    """
    block, inputs = load(job + 8 * ROW_BLOCK), load(job + 8 * INPUTS)
    first = chunk * block
    rows = min(block, load(job + 8 * BATCH) - first)
    ranks = load(job + 8 * RANKS) + 8 * first
    top, step = load(ranks), load(job + 8 * ROUNDED_STEP)
    into = load(job + 8 * ROUNDED_Z) + step * first
    known = min(load(job + 8 * KNOWN), (top + LANES - 1) // LANES * LANES)
    reach = load(load(job + 8 * RANKS) + 8 * (first // BLOCK_ROWS * BLOCK_ROWS))
    if known or reach > top:
        width = (reach + PANEL - 1) // PANEL * PANEL
        for i in range(rows):
            source = load(load(job + 8 * Z_ROWS) + 8 * (first + i))
            round_row(source, min(known, load(ranks + 8 * i)), into + step * i, width)
    if top <= known:
        return
    x, x_step = _stage(job, first, rows, worker), load(job + 8 * X_STEP)
    sums, steps = x - _SUMS_BYTES, (inputs + PANEL - 1) // PANEL
    table, table_step = load(job + 8 * V_PAIRS), steps * STEP_BYTES
    begin_products()
    for low in range(known, top, PANEL):
        panel = table + low // LANES * table_step
        if top - low > LANES:
            multiply_wide(x, x_step, steps, panel, table_step, sums, rows)
        else:
            multiply_narrow(x, x_step, steps, panel, table_step, sums, rows)
        gains = load(job + 8 * SCALE) + 4 * low
        round_block(sums, rows, ranks, low, gains, into + 2 * low, step)
    end_products()


@part
def expand_rounded(job: int, chunk: int, worker: int) -> None:
    """U on all samples, for some panels of outputs; products in bfloat16."""
    batch, outputs = load(job + 8 * BATCH), load(job + 8 * OUTPUTS)
    width, panels = load(job + 8 * PANELS), (outputs + PANEL - 1) // PANEL
    sums = load(job + 8 * STAGES) + worker * load(job + 8 * STAGE_STEP)
    z_width, floor = load(job + 8 * Z_WIDTH), float32(load_double(job + 8 * FLOOR))
    z, step = load(job + 8 * ROUNDED_Z), load(job + 8 * ROUNDED_STEP)
    table, table_step = load(job + 8 * U_PAIRS), z_width // PANEL * STEP_BYTES
    begin_products()
    for low in range(chunk * width, min(panels, (chunk + 1) * width), _PANELS_AT_ONCE):
        high = min(panels, (chunk + 1) * width, low + _PANELS_AT_ONCE)
        for first in range(0, batch, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, batch - first)
            steps = (load(load(job + 8 * RANKS) + 8 * first) + PANEL - 1) // PANEL
            a, biases = z + step * first, load(job + 8 * BIAS_ROWS) + 8 * first
            into = load(job + 8 * Y_ROWS) + 8 * first
            for panel in range(low, high):
                weights, column = table + 2 * panel * table_step, panel * PANEL
                multiply_wide(a, step, steps, weights, table_step, sums, rows)
                if load(job + 8 * HALVES):
                    put_rounded_block(sums, rows, biases, floor, into, column, outputs - column)
                else:
                    put_block(sums, rows, biases, floor, into, column, outputs - column)
    end_products()
