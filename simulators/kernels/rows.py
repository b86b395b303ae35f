"""One sample at a time, for batches that fill no tile: both factors with a row per rank.

A rank is then a prefix of memory, read once from one end to the other: such a sample costs what
reading its share of the factors costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numba import types

from simulators.kernels.atomics import load
from simulators.kernels.emit import INT64, ZERO, Emitter, instruction
from simulators.kernels.job import (
    BIAS,
    INPUTS,
    OUTPUTS,
    RANKS,
    SCALE,
    U_ROWS,
    V_ROWS,
    X_ROWS,
    Y_ROWS,
    Z_ROWS,
)
from simulators.kernels.vector import LANES, kernel

ROWS_AT_ONCE = 8
"""Rows whose sums are independent, so that an addition need not await the one before."""


def _dot(rows: int) -> Any:
    """Products of ``rows`` neighbouring rows with one vector."""

    @instruction
    def dot(context: Any, x: Any, count: Any, table: Any, z: Any, scale: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = Emitter(builder)
            x, count, table, z, scale = arguments
            first = emit.floats(table)
            lines = [emit.at(first, builder.mul(count, INT64(i))) for i in range(rows)]
            whole = builder.sub(count, builder.srem(count, INT64(LANES)))

            def turn(k: Any, sums: Sequence[Any]) -> list[Any]:
                factor = emit.vector(emit.at(emit.floats(x), k))
                pairs = zip(lines, sums, strict=True)
                return [emit.fma(emit.vector(emit.at(row, k)), factor, s) for row, s in pairs]

            def rest(k: Any, sums: Sequence[Any]) -> list[Any]:
                mask = emit.leading(builder.sub(count, k))
                factor = emit.masked_vector(emit.at(emit.floats(x), k), mask)
                weights = [emit.masked_vector(emit.at(row, k), mask) for row in lines]
                return [emit.fma(w, factor, s) for w, s in zip(weights, sums, strict=True)]

            sums = emit.loop(INT64(0), whole, LANES, [ZERO] * rows, turn)
            sums = emit.loop(whole, count, LANES, sums, rest)
            for i in range(rows):
                gain = builder.load(emit.at(emit.floats(scale), i))
                total = builder.fmul(emit.total(sums[i]), gain)
                builder.store(total, emit.at(emit.floats(z), i))
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, types.int64, word, word, word), generate

    return dot


def _add(rows: int) -> Any:
    """Weighted sum of ``rows`` neighbouring rows."""

    @instruction
    def add(context: Any, z: Any, table: Any, count: Any, start: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = Emitter(builder)
            z, table, count, start, y = arguments
            first, source, into = (emit.floats(address) for address in (table, start, y))
            lines = [emit.at(first, builder.mul(count, INT64(i))) for i in range(rows)]
            weights = [
                emit.broadcast(builder.load(emit.at(emit.floats(z), i))) for i in range(rows)
            ]
            whole = builder.sub(count, builder.srem(count, INT64(LANES)))

            def turn(k: Any, _held: Sequence[Any]) -> list[Any]:
                total = emit.vector(emit.at(source, k))
                for weight, row in zip(weights, lines, strict=True):
                    total = emit.fma(weight, emit.vector(emit.at(row, k)), total)
                emit.store(total, emit.at(into, k))
                return []

            def rest(k: Any, _held: Sequence[Any]) -> list[Any]:
                mask = emit.leading(builder.sub(count, k))
                total = emit.masked_vector(emit.at(source, k), mask)
                for weight, row in zip(weights, lines, strict=True):
                    line = emit.masked_vector(emit.at(row, k), mask)
                    total = emit.fma(weight, line, total)
                emit.masked_store(total, emit.at(into, k), mask)
                return []

            emit.loop(INT64(0), whole, LANES, [], turn)
            emit.loop(whole, count, LANES, [], rest)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, types.int64, word, word), generate

    return add


_dot_many, _dot_one = _dot(ROWS_AT_ONCE), _dot(1)
_add_many, _add_one, _add_none = _add(ROWS_AT_ONCE), _add(1), _add(0)


@kernel
def run_row(job: int, sample: int) -> None:
    """One whole sample of ``job``, an address."""
    inputs, outputs = load(job + 8 * INPUTS), load(job + 8 * OUTPUTS)
    at = 8 * sample
    x, z = load(load(job + 8 * X_ROWS) + at), load(load(job + 8 * Z_ROWS) + at)
    y, rank = load(load(job + 8 * Y_ROWS) + at), load(load(job + 8 * RANKS) + at)
    table, scale = load(job + 8 * V_ROWS), load(job + 8 * SCALE)
    whole = rank - rank % ROWS_AT_ONCE
    for k in range(0, whole, ROWS_AT_ONCE):
        _dot_many(x, inputs, table + 4 * k * inputs, z + 4 * k, scale + 4 * k)
    for k in range(whole, rank):
        _dot_one(x, inputs, table + 4 * k * inputs, z + 4 * k, scale + 4 * k)
    table, start = load(job + 8 * U_ROWS), load(job + 8 * BIAS)
    if rank == 0:
        _add_none(z, table, outputs, start, y)
    for k in range(0, whole, ROWS_AT_ONCE):
        _add_many(z + 4 * k, table + 4 * k * outputs, outputs, start, y)
        start = y
    for k in range(whole, rank):
        _add_one(z + 4 * k, table + 4 * k * outputs, outputs, start, y)
        start = y
