"""Register tiles: the innermost loops, as LLVM vector code that every CPU's back end translates.

A tile holds ``TILE_ROWS`` samples × two vectors of sums in registers. Each step loads two vectors
of a factor, broadcasts what they are multiplied by of each sample, and adds the products (Goto and
van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008). Of U those are a rank's
``PANEL`` outputs and a number; of V two inputs' ``LANES`` ranks and a pair of numbers. Rows are
given as addresses, so samples need not be moved into the order in which they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from numba import types

from simulators.kernels.emit import INT64, ZERO, Emitter, instruction, side_by_side
from simulators.kernels.vector import LANES, PANEL, TILE_ROWS

WORD = types.int64
WIDE = TILE_ROWS // 2 + 1
"""Samples from which on a turn lasts long enough for the caches to fetch one more vector, of what
comes next in factors that the second cache cannot hold. Hardware fetches a few lines beyond those
that are read, but nothing while further tiles read the same ones again."""


def _columns(emit: Emitter, panel: Any, vectors: int) -> list[Any]:
    """Where the first vectors of a panel's first row lie."""
    return [emit.at(emit.floats(panel), LANES * v) for v in range(vectors)]


def _products(
    emit: Emitter, sums: Sequence[Any], factors: Iterable[Any], columns: Sequence[Any], line: Any
) -> list[Any]:
    """Add to each row's sums its factor × the vectors that begin ``line`` below ``columns``."""
    vectors = [emit.vector(emit.at(column, line)) for column in columns]
    new = []
    for number, factor in enumerate(factors):
        for v, vector in enumerate(vectors):
            new.append(emit.fma(factor, vector, sums[number * len(vectors) + v]))
    return new


def _fetch(emit: Emitter, ahead: Any, k: Any, rows: int) -> None:
    """Have the k-th vector from ``ahead`` on, if any, fetched in turns of WIDE samples or more."""
    if rows >= WIDE and ahead is not None:
        emit.expect_load(emit.at(ahead, emit.builder.mul(k, INT64(LANES))))


def _resumed(emit: Emitter, totals: Sequence[Any], places: Sequence[Any], fresh: Any) -> list[Any]:
    """Totals, and what lies at ``places`` added unless ``fresh`` holds."""
    b = emit.builder
    begin = b.block
    resume, ready = b.append_basic_block("resume"), b.append_basic_block("ready")
    b.cbranch(fresh, ready, resume)
    b.position_at_end(resume)
    more = [
        b.fadd(total, emit.vector(place, total.type))
        for total, place in zip(totals, places, strict=True)
    ]
    b.branch(ready)
    b.position_at_end(ready)
    found = []
    for total, larger in zip(totals, more, strict=True):
        value = b.phi(total.type)
        value.add_incoming(total, begin)
        value.add_incoming(larger, resume)
        found.append(value)
    return found


def _project(vectors: int) -> Any:
    """Tile of the first stage, see :data:`project_wide`."""

    def tile(emit: Emitter, arguments: Sequence[Any], rows: int) -> None:
        b = emit.builder
        x, first, last, group, z, column, scale, ahead, _ = arguments
        places = [emit.at(row, column) for row in emit.rows(z, rows)]
        lines, columns = emit.rows(x, rows), _columns(emit, group, vectors)
        pairs = [emit.pairs(line) for line in lines]
        expected = emit.floats(ahead) if vectors == 2 else None

        def turn(pair: Any, held: Sequence[Any]) -> list[Any]:
            _fetch(emit, expected, b.sub(pair, begin), rows)
            factors = (emit.broadcast_pair(emit.at(row, pair)) for row in pairs)
            return _products(emit, held, factors, columns, b.mul(pair, INT64(2 * LANES)))

        def alone(k: Any, held: Sequence[Any]) -> list[Any]:
            """The last input, which has no neighbour."""
            factors = (emit.first_of_pairs(b.load(emit.at(row, k))) for row in lines)
            return _products(emit, held, factors, columns, b.mul(k, INT64(LANES)))

        count = rows * vectors
        begin, end = b.ashr(first, INT64(1)), b.ashr(last, INT64(1))
        sums = emit.loop_apart(begin, end, side_by_side(count), [ZERO] * count, turn)
        sums = emit.loop(b.shl(end, INT64(1)), last, 1, sums, alone)
        totals = [
            emit.pair_totals(sums[number * vectors : (number + 1) * vectors])
            for number in range(rows)
        ]
        fresh = b.icmp_signed("==", first, INT64(0))
        totals = _resumed(emit, totals, places, fresh)
        with b.if_else(b.icmp_signed("!=", scale, INT64(0))) as (finish, keep):
            with finish:
                gain = emit.vector(emit.floats(scale), totals[0].type)
                for total, place in zip(totals, places, strict=True):
                    emit.store(b.fmul(total, gain), place)
            with keep:
                for total, place in zip(totals, places, strict=True):
                    emit.store(total, place)

    @instruction
    def project(
        context: Any,
        x: Any,
        first: Any,
        last: Any,
        group: Any,
        z: Any,
        column: Any,
        scale: Any,
        ahead: Any,
        rows: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            done = builder.append_basic_block("done")
            cases = builder.switch(arguments[-1], done)
            for size in range(1, TILE_ROWS + 1):
                block = builder.append_basic_block(f"rows{size}")
                cases.add_case(INT64(size), block)
                builder.position_at_end(block)
                tile(Emitter(builder), arguments, size)
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(*[WORD] * 9), generate

    return project


project_wide: Any = _project(2)
"""``project_wide(x, first, last, group, z, column, scale, ahead, rows)``, 1 to TILE_ROWS samples.

z_i[column:column + LANES] = scale × (z_i[...] + Σ_k x_i[k] V[k]) over first ≤ k < last, where
z_i counts as 0 if first is 0, and first is even, and last if it is not the number of inputs. ``x``
and ``z`` are addresses of arrays of row addresses; ``group`` of a (pairs of inputs, LANES, 2)
array, V of LANES ranks; ``scale`` of LANES gains, or 0 for gains of 1; ``ahead`` of what to fetch,
a vector for each pair, if there are WIDE samples.
"""
project_narrow: Any = _project(1)
"""As :data:`project_wide`, for the first HALF ranks of the group alone; nothing is fetched."""


def _until_few_are_left(
    emit: Emitter,
    sums: Sequence[Any],
    rows: Sequence[Any],
    columns: Sequence[Any],
    ranks: Any,
    first: Any,
    few: int,
    ahead: Any,
    meanwhile: Callable[[Any], None] | None = None,
) -> tuple[list[Any], Any]:
    """Products from number ``first`` on; rows leave one by one as their ranks end, down to a few.

    Meanwhile vectors from ``ahead`` on are fetched, and ``meanwhile`` writes what else turns of all
    rows do.

    Returns:
        All sums, and the number that comes next for the rows that are left.
    """
    found = list(sums)
    for size in range(len(rows), few, -1):
        last = emit.builder.load(emit.at(ranks, size - 1))

        def turn(k: Any, held: Sequence[Any], size: int = size) -> list[Any]:
            _fetch(emit, ahead, k, size)
            if meanwhile is not None and size == TILE_ROWS:
                meanwhile(k)
            b = emit.builder
            factors = (emit.broadcast(b.load(emit.at(row, k))) for row in rows[:size])
            return _products(emit, held, factors, columns, b.mul(k, INT64(PANEL)))

        count = size * len(columns)
        found[:count] = emit.loop_apart(first, last, side_by_side(count), found[:count], turn)
        first = last
    return found, first


def _expand(panels: int, *, vectors: int = 2, each: bool = False, floored: bool = False) -> Any:
    """Tile of the second stage, see :data:`expand_panel`: the first vectors of some panels, with a
    bias for ``each`` sample, or sums that are ``floored``.
    """
    few, width = TILE_ROWS // panels, vectors * panels

    def tile(emit: Emitter, arguments: Sequence[Any]) -> None:
        b = emit.builder
        z, ranks, panel, step, bias, start, y, column, after, place, ahead, floor = arguments
        ends, rows, into = emit.integers(ranks), emit.rows(z, TILE_ROWS), emit.rows(y, TILE_ROWS)
        expected_rows = emit.integers(after)

        def expect_outputs(p: int) -> Callable[[Any], None]:
            """Have those of few rows that come next fetched with each panel, a vector a turn."""

            def turn(k: Any) -> None:
                number = b.and_(b.lshr(k, INT64(width.bit_length() - 1)), INT64(few - 1))
                row = emit.floats(b.load(emit.at(expected_rows, b.add(number, INT64(p * few)))))
                vector = b.mul(b.and_(k, INT64(width - 1)), INT64(LANES))
                emit.expect_store(emit.at(row, b.add(place, vector)))

            return turn

        begins = emit.rows(bias, TILE_ROWS) if each else [emit.floats(bias)]

        def store(row: int, v: int, values: Sequence[Any]) -> None:
            for at, value in enumerate(values, v):
                held = emit.at_least(emit.broadcast(floor), value) if floored else value
                emit.store(held, emit.at(emit.at(into[row], column), LANES * at))

        expected = None if floored else emit.floats(ahead)
        left: list[list[Any]] = [[] for _ in range(few)]
        columns: list[Any] = []
        for p in range(panels):
            own = _columns(emit, b.add(panel, b.mul(step, INT64(p))), vectors)
            places = [emit.at(row, start) for row in begins]
            fresh = [
                emit.vector(emit.at(place, LANES * (vectors * p + v)))
                for place in places
                for v in range(vectors)
            ]
            sums = fresh * (TILE_ROWS // len(begins))
            other = None if floored else expect_outputs(p)
            sums, first = _until_few_are_left(
                emit, sums, rows, own, ends, INT64(0), few, expected, other
            )
            if expected is not None:
                expected = emit.at(expected, b.mul(first, INT64(LANES)))
            columns += own
            for row in range(TILE_ROWS):
                found = sums[vectors * row : vectors * (row + 1)]
                if row < few:
                    left[row] += found
                else:
                    store(row, vectors * p, found)
        sums = [value for found in left for value in found]
        sums, _ = _until_few_are_left(emit, sums, rows[:few], columns, ends, first, 0, expected)
        for row in range(few):
            store(row, 0, sums[width * row : width * (row + 1)])

    @instruction
    def expand(
        context: Any,
        z: Any,
        ranks: Any,
        panel: Any,
        step: Any,
        bias: Any,
        start: Any,
        y: Any,
        column: Any,
        after: Any,
        place: Any,
        ahead: Any,
        floor: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            tile(Emitter(builder), arguments)
            return context.get_dummy_value()

        return types.void(*[WORD] * 11, types.float32), generate

    return expand


expand_panel: Any = _expand(1)
"""``expand_panel(z, ranks, panel, step, bias, start, y, column, after, place, ahead, floor)``:
tile of the second stage.

y_i[column:column + PANEL] = bias[start:start + PANEL] + Σ_k z_i[k] panel[k] over k < ranks[i], for
TILE_ROWS samples whose ranks do not ascend: rows leave the loop one by one as their ranks end, with
nothing padded. ``z``, ``ranks`` and ``y`` are addresses of int64 arrays, of row addresses the outer
two; ``panel`` of an (r_max, PANEL) array, the next one lying ``step`` bytes on, ``bias`` of
numbers, ``ahead`` of what to fetch, a vector for each k that WIDE samples have. From ``place`` on
in the rows ``after``, addresses as ``y``, lie the outputs that come next. ``floor`` does not
count.
"""
expand_narrow: Any = _expand(1, vectors=1)
"""As :data:`expand_panel`, for the first LANES columns of the panel alone."""
expand_pair: Any = _expand(2)
"""As :data:`expand_panel`, for this panel and the next.

Once half of the rows have left, what is left of both is done together: there are sums enough to
keep multipliers busy, and half as many loops whose end no CPU foresees.
"""
expand_each: Any = _expand(1, each=True, floored=True)
"""As :data:`expand_panel` with a bias for each sample: ``bias`` is the address of row addresses
too; sums below ``floor`` become ``floor``. Nothing is fetched: layers in a row are small.
"""
expand_pair_floored: Any = _expand(2, floored=True)
"""As :data:`expand_pair`; sums below ``floor`` become ``floor``. Nothing is fetched."""


@instruction
def copy_floats(context: Any, source: Any, target: Any, count: Any) -> Any:
    """``copy_floats(source, target, count)`` copies numbers between two addresses."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        source, target, count = arguments

        def turn(i: Any, _held: Sequence[Any]) -> list[Any]:
            mask = emit.leading(builder.sub(count, i))
            line = emit.masked_vector(emit.at(emit.floats(source), i), mask)
            emit.masked_store(line, emit.at(emit.floats(target), i), mask)
            return []

        emit.loop(INT64(0), count, LANES, [], turn)
        return context.get_dummy_value()

    return types.void(WORD, WORD, WORD), generate


@instruction
def add_floats(
    context: Any, first: Any, second: Any, factor: Any, target: Any, count: Any, floor: Any
) -> Any:
    """``add_floats(first, second, factor, target, count, floor)`` adds up numbers at two addresses.

    Those of the second times ``factor``; sums below ``floor`` become ``floor``.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        first, second, factor, target, count, floor = arguments
        times, least = emit.broadcast(factor), emit.broadcast(floor)

        def turn(i: Any, _held: Sequence[Any]) -> list[Any]:
            mask = emit.leading(builder.sub(count, i))
            a = emit.masked_vector(emit.at(emit.floats(first), i), mask)
            b = emit.masked_vector(emit.at(emit.floats(second), i), mask)
            total = emit.at_least(least, emit.fma(b, times, a))
            emit.masked_store(total, emit.at(emit.floats(target), i), mask)
            return []

        emit.loop(INT64(0), count, LANES, [], turn)
        return context.get_dummy_value()

    return types.void(WORD, WORD, types.float32, WORD, WORD, types.float32), generate


@instruction
def dot_floats(context: Any, first: Any, second: Any, count: Any) -> Any:
    """``dot_floats(first, second, count)``: the inner product of numbers at two addresses."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        first, second, count = arguments

        def turn(i: Any, sums: Sequence[Any]) -> list[Any]:
            mask = emit.leading(builder.sub(count, i))
            a = emit.masked_vector(emit.at(emit.floats(first), i), mask)
            b = emit.masked_vector(emit.at(emit.floats(second), i), mask)
            return [emit.fma(a, b, sums[0])]

        return emit.total(emit.loop(INT64(0), count, LANES, [ZERO], turn)[0])

    return types.float32(WORD, WORD, WORD), generate
