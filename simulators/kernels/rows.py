"""One sample at a time, for batches that fill no tile: both factors in the order they are read.

Such a sample costs what reading its share of the factors costs, so both are laid out for one stream
from end to end. V is in groups of ranks: each holds a vector of every one of its ranks, then the
next vector of every one, so that a prefix of ranks is a prefix of memory and as many sums as ranks
are independent. U is in strips of outputs, whose sums stay in registers from the first rank to the
sample's last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from simulators.kernels.atomics import load
from simulators.kernels.emit import INT32, INT64, ZERO, Emitter, instruction, side_by_side
from simulators.kernels.job import (
    BIAS,
    INPUTS,
    OUTPUTS,
    R_MAX,
    RANKS,
    SCALE,
    U_STRIPS,
    V_GROUPS,
    X_ROWS,
    Y_ROWS,
    Z_ROWS,
)
from simulators.kernels.vector import GROUP, LANES, STRIP, kernel

WORD = types.int64


def _chosen(emit: Emitter, one: Any, other: Any, lanes: Sequence[int]) -> Any:
    """The named lanes of two vectors, those of the other counted on from those of the one."""
    mask = ir.Constant(ir.VectorType(INT32, len(lanes)), lanes)
    return emit.builder.shuffle_vector(one, other, mask)


def _joined(emit: Emitter, one: Any, other: Any, width: int) -> Any:
    """Neighbouring blocks of ``width`` lanes added up, blocks of one and of other in turn."""
    starts = range(0, LANES, 2 * width)
    low = [i + v + at for i in starts for v in (0, LANES) for at in range(width)]
    high = [lane + width for lane in low]
    return emit.builder.fadd(_chosen(emit, one, other, low), _chosen(emit, one, other, high))


def _totals(emit: Emitter, sums: Sequence[Any]) -> list[Any]:
    """All lanes of each of a power of two of vectors added up, as few vectors of those totals."""
    found, width = list(sums), 1
    while len(found) > 1 and width < LANES:
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [_joined(emit, one, other, width) for one, other in pairs]
        width *= 2
    size = LANES
    while size > width:
        size //= 2
        (whole,) = found
        low, high = list(range(size)), list(range(size, 2 * size))
        halves = (_chosen(emit, whole, whole, half) for half in (low, high))
        found = [emit.builder.fadd(*halves)]
    return found


def _dot(emit: Emitter, arguments: Sequence[Any], rows: int) -> None:
    """Products of the first ``rows`` of a group, see :func:`project_group`."""
    b = emit.builder
    x, count, table, z, scale, _ = arguments
    first, source = emit.floats(table), emit.floats(x)
    whole = b.sdiv(count, INT64(LANES))

    def add(k: Any, factor: Any, sums: Sequence[Any]) -> list[Any]:
        line = emit.at(first, b.mul(k, INT64(GROUP * LANES)))
        weights = [emit.vector(emit.at(line, LANES * i)) for i in range(rows)]
        return [emit.fma(w, factor, s) for w, s in zip(weights, sums, strict=True)]

    def turn(k: Any, sums: Sequence[Any]) -> list[Any]:
        return add(k, emit.vector(emit.at(source, b.mul(k, INT64(LANES)))), sums)

    def rest(i: Any, sums: Sequence[Any]) -> list[Any]:
        mask = emit.leading(b.sub(count, i))
        return add(whole, emit.masked_vector(emit.at(source, i), mask), sums)

    sums = emit.loop_apart(INT64(0), whole, side_by_side(rows), [ZERO] * rows, turn)
    sums = emit.loop(b.mul(whole, INT64(LANES)), count, LANES, sums, rest)
    at = 0
    for totals in _totals(emit, sums):
        places = [emit.at(emit.floats(address), at) for address in (scale, z)]
        gains, into = (b.bitcast(place, totals.type.as_pointer()) for place in places)
        gain = b.load(gains)
        gain.align = 4
        b.store(b.fmul(totals, gain), into).align = 4
        at += totals.type.count


@instruction
def project_group(
    context: Any, x: Any, count: Any, table: Any, z: Any, scale: Any, rows: Any
) -> Any:
    """``project_group(x, count, table, z, scale, rows)``: the first stage for a group of ranks.

    z[i] = scale[i] × Σ_k x[k] V[k, i] over ``count`` inputs, for the first ``rows`` ranks of a
    group, 1 to GROUP; those after them, of which z and scale have to hold all of the group, may
    be written too. ``table`` is the address of a (vectors of in, GROUP, LANES) array, filled up
    with zeros.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        done = builder.append_basic_block("done")
        cases = builder.switch(arguments[-1], done)
        size = 1
        while size <= GROUP:
            block = builder.append_basic_block(f"rows{size}")
            for needed in range(size // 2 + 1, size + 1):
                cases.add_case(INT64(needed), block)
            builder.position_at_end(block)
            _dot(Emitter(builder), arguments, size)
            builder.branch(done)
            size *= 2
        builder.position_at_end(done)
        return _context.get_dummy_value()

    return types.void(*[WORD] * 6), generate


@instruction
def expand_row(
    context: Any, z: Any, rank: Any, table: Any, r_max: Any, bias: Any, y: Any, outputs: Any
) -> Any:
    """``expand_row(z, rank, table, r_max, bias, y, outputs)``: the second stage of a sample.

    y = bias + Σ_k z[k] U[:, k] over k < rank. ``table`` is the address of the strips of U, see
    :attr:`simulators.kernels.layout.PackedFactors.u_strips`; ``bias`` of whole vectors.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        z, rank, table, r_max, bias, y, outputs = arguments
        factors, strips, start, into = (emit.floats(a) for a in (z, table, bias, y))

        def sums_of(column: Any, vectors: int) -> list[Any]:
            strip = emit.at(strips, builder.mul(column, r_max))

            def turn(k: Any, sums: Sequence[Any]) -> list[Any]:
                factor = emit.broadcast(builder.load(emit.at(factors, k)))
                line = emit.at(strip, builder.mul(k, INT64(LANES * vectors)))
                columns = [emit.vector(emit.at(line, LANES * v)) for v in range(vectors)]
                return [emit.fma(factor, c, s) for c, s in zip(columns, sums, strict=True)]

            begin = emit.at(start, column)
            sums = [emit.vector(emit.at(begin, LANES * v)) for v in range(vectors)]
            return emit.loop_apart(INT64(0), rank, side_by_side(vectors), sums, turn)

        first: Any = INT64(0)
        vectors = STRIP
        while vectors:
            left = builder.sub(outputs, first)
            last = builder.sub(outputs, builder.srem(left, INT64(LANES * vectors)))

            def turn(column: Any, _held: Sequence[Any], vectors: int = vectors) -> list[Any]:
                for v, value in enumerate(sums_of(column, vectors)):
                    emit.store(value, emit.at(emit.at(into, column), LANES * v))
                return []

            emit.loop(first, last, LANES * vectors, [], turn)
            first = last
            vectors //= 2

        def rest(column: Any, _held: Sequence[Any]) -> list[Any]:
            mask = emit.leading(builder.sub(outputs, column))
            emit.masked_store(sums_of(column, 1)[0], emit.at(into, column), mask)
            return []

        emit.loop(first, outputs, LANES, [], rest)
        return context.get_dummy_value()

    return types.void(*[WORD] * 7), generate


@kernel
def run_row(job: int, sample: int) -> None:
    """One whole sample of ``job``, an address."""
    inputs, outputs = load(job + 8 * INPUTS), load(job + 8 * OUTPUTS)
    at = 8 * sample
    x, z = load(load(job + 8 * X_ROWS) + at), load(load(job + 8 * Z_ROWS) + at)
    y, rank = load(load(job + 8 * Y_ROWS) + at), load(load(job + 8 * RANKS) + at)
    table, scale = load(job + 8 * V_GROUPS), load(job + 8 * SCALE)
    step = 4 * LANES * ((inputs + LANES - 1) // LANES)
    for k in range(0, rank, GROUP):
        rows = min(GROUP, rank - k)
        project_group(x, inputs, table + k * step, z + 4 * k, scale + 4 * k, rows)
    table, start = load(job + 8 * U_STRIPS), load(job + 8 * BIAS)
    expand_row(z, rank, table, load(job + 8 * R_MAX), start, y, outputs)
