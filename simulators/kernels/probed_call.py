"""A call in which a gate chooses levels by the answer at the lowest one, in compiled code."""

from __future__ import annotations

import math

import numpy as np
from numba import float32, float64, int64

from simulators.kernels.atomics import load, load_float, store, store_float
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
    ABOVE,
    ABOVE_LEVELS,
    ANSWERS,
    ANSWERS_STEP,
    BEGIN,
    BEGIN_STEP,
    CALL_THREADS,
    CHAIN_FIELDS,
    CLASSES,
    DONE,
    EXIT,
    FIRST,
    GATE_BIAS,
    GATE_COST,
    GATE_LEVELS,
    GATE_TOP,
    GATE_WEIGHT,
    JOB,
    LAYER,
    OUT,
    OUT_STEP,
    OUTPUTS,
    PROBE_WEIGHTS,
    RECTIFIED,
    SHARED,
    TOP,
    UNREADY,
)
from simulators.kernels.shares import dismiss
from simulators.kernels.tiles import add_floats
from simulators.kernels.vector import entry, kernel, part


@kernel
def _rest(
    table: int,
    layers: int,
    batch: int,
    levels: int,
    answers: int,
    answers_step: int,
    threads: int,
) -> None:
    """All layers but the first, from that one's outputs on, in the order of the samples there.

    Args:
        table, layers: as of :func:`run_probed`.
        batch: samples.
        levels: address of each one's level, int64.
        answers, answers_step: address of what the last layer puts out, and bytes from row to row.
        threads: how many work on it.
    """
    x, x_step, nowhere = load(table + 8 * OUT), load(table + 8 * OUT_STEP), variable(0)
    for number in range(1, layers):
        row = table + 8 * CHAIN_FIELDS * number
        y, y_step = load(row + 8 * OUT), load(row + 8 * OUT_STEP)
        if number == layers - 1:
            y, y_step = answers, answers_step
        if load(row + 8 * LAYER):
            run_leveled(
                row,
                batch,
                x,
                x_step,
                nowhere,
                y,
                y_step,
                levels,
                nowhere,
                nowhere,
                threads,
            )
        else:
            run_full(load(row + 8 * JOB), batch, x, x_step, y, y_step, threads)
        x, x_step = y, y_step


@kernel
def _features(answer: int, classes: int, top: int, place: int) -> float:
    """Write the largest probabilities of an answer, descending; its entropy, with a minus.

    Args:
        answer: address of the logits, float32.
        classes: how many.
        top: how many of them are wanted.
        place: address of as many float32.
    """
    most = float32(-np.inf)
    for c in range(classes):
        most = max(most, load_float(answer + 4 * c))
    total = 0.0
    for c in range(classes):
        total += math.exp(load_float(answer + 4 * c) - most)
    log = most + math.log(total)
    entropy = 0.0
    for k in range(top):
        store_float(place + 4 * k, float32(-1.0))
    for c in range(classes):
        logarithm = load_float(answer + 4 * c) - log
        value = math.exp(logarithm)
        entropy += value * logarithm
        k = top
        while k > 0 and value > load_float(place + 4 * (k - 1)):
            if k < top:
                store_float(place + 4 * k, load_float(place + 4 * (k - 1)))
            k -= 1
        if k < top:
            store_float(place + 4 * k, float32(value))
    return entropy


@part
def _choose(
    probe: int, batch: int, answers: int, answers_step: int, price: float, chosen: int
) -> int:
    """Write the level of each sample, and which are above the lowest; how many these are."""
    classes, top, count = (
        load(probe + 8 * CLASSES),
        load(probe + 8 * TOP),
        load(probe + 8 * GATE_LEVELS),
    )
    weight, bias, cost = (
        load(probe + 8 * GATE_WEIGHT),
        load(probe + 8 * GATE_BIAS),
        load(probe + 8 * GATE_COST),
    )
    place, above, levels = (
        load(probe + 8 * GATE_TOP),
        load(probe + 8 * ABOVE),
        load(probe + 8 * ABOVE_LEVELS),
    )
    going_on, asked = variable(0), float32(price)
    for i in range(batch):
        entropy = float32(_features(answers + answers_step * i, classes, top, place))
        level = 0
        while level < count - 1:
            # In float32, as the module's gate decides, by which prices are set.
            own, gain = weight + 4 * (top + 1) * level, float32(0.0)
            for k in range(top):
                gain += load_float(own + 4 * k) * load_float(place + 4 * k)
            gain += load_float(own + 4 * top) * entropy
            if not gain + load_float(bias + 4 * level) > asked * load_float(cost + 4 * level):
                break
            level += 1
        store(chosen + 8 * i, level)
        if level:
            store(above + 8 * going_on, i)
            store(levels + 8 * going_on, level)
            going_on += 1
    return going_on


@kernel
def _run_some(
    table: int,
    layers: int,
    batch: int,
    x: int,
    x_step: int,
    probe: int,
    chosen: int,
    price: float,
    threads: int,
    start: int,
) -> None:
    """A call on some samples of a batch, from number ``start`` on; other arguments are those of
    :func:`run_probed`.
    """
    first = load(probe + 8 * FIRST)
    first_job = load(first + 8 * JOB)
    x, chosen = x + x_step * start, chosen + 8 * start
    raw, raw_step = load(first + 8 * OUT), load(first + 8 * OUT_STEP)
    for i in range(batch):
        store(chosen + 8 * i, 0)
    nowhere = variable(0)
    begin, begin_step = nowhere, nowhere
    run_leveled(
        first,
        batch,
        x,
        x_step,
        nowhere,
        raw,
        raw_step,
        chosen,
        begin,
        begin_step,
        threads,
    )
    hidden, hidden_step = load(table + 8 * OUT), load(table + 8 * OUT_STEP)
    outputs, starts = load(first_job + 8 * OUTPUTS), load(load(table + 8 * LAYER) + 8)
    floor = float32(0.0 if load(table + 8 * RECTIFIED) else -np.inf)
    for i in range(batch):
        source, target = raw + raw_step * i, hidden + hidden_step * i
        add_floats(source, starts, float32(1.0), target, outputs, floor)
    last = table + 8 * CHAIN_FIELDS * (layers - 1)
    out_step = load(last + 8 * OUT_STEP)
    out = load(last + 8 * OUT) + out_step * start
    if load(probe + 8 * EXIT):
        run_full(load(probe + 8 * EXIT), batch, hidden, hidden_step, out, out_step, threads)
    else:
        _rest(table, layers, batch, chosen, out, out_step, threads)
    going_on = _choose(probe, batch, out, out_step, price, chosen)
    if going_on:
        above, levels = load(probe + 8 * ABOVE), load(probe + 8 * ABOVE_LEVELS)
        begin, begin_step = load(probe + 8 * BEGIN), load(probe + 8 * BEGIN_STEP)
        for i in range(going_on):
            own = starts + begin_step * load(levels + 8 * i)
            source, target = raw + raw_step * load(above + 8 * i), begin + begin_step * i
            add_floats(source, own, float32(1.0), target, outputs, float32(-np.inf))
        run_leveled(
            table,
            going_on,
            x,
            x_step,
            above,
            hidden,
            hidden_step,
            levels,
            begin,
            begin_step,
            threads,
        )
        answers, answers_step = load(probe + 8 * ANSWERS), load(probe + 8 * ANSWERS_STEP)
        _rest(table, layers, going_on, levels, answers, answers_step, threads)
        weights, classes = load(probe + 8 * PROBE_WEIGHTS), load(probe + 8 * CLASSES)
        for i in range(going_on):
            target = out + out_step * load(above + 8 * i)
            counts = load_float(weights + 4 * load(levels + 8 * i))
            own = answers + answers_step * i
            add_floats(own, target, counts, target, classes, float32(-np.inf))


@entry(*[int64] * 8, float64)
def run_probed(
    table: int,
    layers: int,
    batch: int,
    at_once: int,
    x: int,
    x_step: int,
    probe: int,
    chosen: int,
    price: float,
) -> int:
    """Layers at the lowest level, then again for the samples that a gate sends on.

    The first layer goes on from what its first rank block gave. With an early exit the lowest level
    is that layer, and a matrix of its own.

    Args:
        table, layers, batch, at_once, x, x_step: as of
            :func:`simulators.kernels.gated_call.run_chain`; of the first layer what lies beyond
            its first rank block.
        probe: address of the fields of :data:`simulators.kernels.job.FIRST`.
        chosen: address that receives each sample's level, int64.
        price: of the gate's cost.

    Returns:
        DONE; or UNREADY, with nothing done, where more threads would pay than have been started.
    """
    first = load(probe + 8 * FIRST)
    first_job, first_ranks = load(first + 8 * JOB), load(load(first + 8 * LAYER))
    threads = min(most_threads(table, layers), load(first_job + 8 * CALL_THREADS))
    if load(probe + 8 * EXIT):
        threads = min(threads, load(load(probe + 8 * EXIT) + 8 * CALL_THREADS))
    gain = seconds_saved(first_job, batch, load(first_ranks), threads)
    for number in range(1, layers):
        row = table + 8 * CHAIN_FIELDS * number
        if load(row + 8 * LAYER) and not load(probe + 8 * EXIT):
            rank = load(load(load(row + 8 * LAYER)))
            gain += seconds_saved(load(row + 8 * JOB), batch, rank, threads)
    threads = hire_for(table, threads, gain)
    if not threads:
        return UNREADY
    parts = parts_of(batch, at_once, threads)
    for number in range(parts):
        start, count = part_of(batch, parts, number)
        _run_some(table, layers, count, x, x_step, probe, chosen, price, threads, start)
    dismiss(load(load(table + 8 * JOB) + 8 * SHARED), threads)
    return DONE
