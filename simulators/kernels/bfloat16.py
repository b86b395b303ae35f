"""Products of numbers that are rounded to bfloat16, on whatever this CPU has for them.

A block is up to ``BLOCK_ROWS`` samples × ``PANEL`` columns of float32 sums. Matrix registers (AMX)
hold it as tiles of 16 × 16; else rows of it are held in vectors, as in :mod:`.tiles`, and each step
multiplies a pair of neighbours: in one instruction with AVX512-BF16, else as float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from simulators.kernels.emit import INT32, INT64, VECTOR, ZERO, Emitter, instruction
from simulators.kernels.vector import (
    BFLOAT16,
    LANES,
    MATRICES,
    PANEL,
    TILE_ROWS,
)

WORD = types.int64
BYTE, SHORT = ir.IntType(8), ir.IntType(16)
WORDS, SHORTS = ir.VectorType(INT32, LANES), ir.VectorType(SHORT, LANES)
STEP_BYTES = 4 * LANES * LANES
"""Of a step: LANES pairs of numbers for LANES columns."""
BLOCK_STEP = 4 * PANEL
"""Bytes from row to row of a block in memory."""
_TILE_ROWS, _TILE_BYTES = 16, 64


_memory_of: Any = cgutils.alloca_once


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's type of 16 bits, of which llvmlite has none."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class _Rounder(Emitter):
    """Writes code on numbers of 16 bits, two of which make a word."""

    def bytes_at(self, address: Any) -> Any:
        """``address``, an integer, as a pointer to bytes."""
        return self.builder.inttoptr(address, BYTE.as_pointer())

    def words(self, address: Any) -> Any:
        """The vector of pairs that starts at ``address``."""
        return self.builder.bitcast(self.vector(self.floats(address)), WORDS)

    def constant(self, value: int) -> Any:
        """A vector of one word."""
        return ir.Constant(WORDS, [ir.Constant(INT32, value)] * LANES)

    def rounded(self, vector: Any) -> Any:
        """A vector's numbers as bfloat16, the nearest, of two the even one; NaN stays NaN."""
        b = self.builder
        if BFLOAT16:
            half = ir.VectorType(_BFloat(), LANES)
            name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
            return b.bitcast(self.call(name, half, [vector]), SHORTS)
        word, shift = b.bitcast(vector, WORDS), self.constant(16)
        upper = b.lshr(word, shift)
        odd = b.and_(upper, self.constant(1))
        near = b.lshr(b.add(word, b.add(odd, self.constant(0x7FFF))), shift)
        quiet = b.or_(upper, self.constant(0x40))
        is_nan = b.fcmp_unordered("uno", vector, vector)
        return b.trunc(b.select(is_nan, quiet, near), SHORTS)

    def shorts(self, address: Any) -> Any:
        """``address``, an integer, as a pointer to a vector of bfloat16."""
        return self.builder.inttoptr(address, SHORTS.as_pointer())

    def store_shorts(self, value: Any, address: Any, mask: Any = None) -> None:
        """Store bfloat16, if there is a mask the lanes that it names."""
        if mask is None:
            self.builder.store(value, self.shorts(address)).align = 2
            return
        arguments = [value, self.shorts(address), INT32(2), mask]
        self.call(f"llvm.masked.store.v{LANES}i16.p0", ir.VoidType(), arguments)

    def load_shorts(self, address: Any, mask: Any) -> Any:
        """The lanes that ``mask`` names, the others 0; all without one."""
        if mask is None:
            found = self.builder.load(self.shorts(address))
            found.align = 2
            return found
        nothing = ir.Constant(SHORTS, [ir.Constant(SHORT, 0)] * LANES)
        arguments = [self.shorts(address), INT32(2), mask, nothing]
        return self.call(f"llvm.masked.load.v{LANES}i16.p0", SHORTS, arguments)

    def store_rounded(self, vector: Any, address: Any, mask: Any = None) -> None:
        """Round a vector, and store its numbers as :meth:`store_shorts` does."""
        self.store_shorts(self.rounded(vector), address, mask)

    def add_products(self, sums: Any, pair: Any, pairs: Any) -> Any:
        """``sums`` + the products of a word's two numbers with those of each word of ``pairs``."""
        b = self.builder
        spread = self.spread(pair, WORDS)
        if BFLOAT16:
            kind = ir.VectorType(_BFloat(), 2 * LANES)
            halves = [b.bitcast(words, kind) for words in (spread, pairs)]
            return self.call("llvm.x86.avx512bf16.dpbf16ps.512", VECTOR, [sums, *halves])
        for part in (self._first, self._second):
            sums = self.fma(part(spread), part(pairs), sums)
        return sums

    def _first(self, words: Any) -> Any:
        """The first number of each word, as float32."""
        b = self.builder
        return b.bitcast(b.shl(words, self.constant(16)), VECTOR)

    def _second(self, words: Any) -> Any:
        b = self.builder
        return b.bitcast(b.and_(words, self.constant(0xFFFF0000)), VECTOR)

    def matrix(self, name: str, *arguments: Any) -> None:
        """An instruction on matrix registers, which are numbered."""
        given = [BYTE(part) if isinstance(part, int) else part for part in arguments]
        self.call(f"llvm.x86.{name}", ir.VoidType(), given)


@instruction
def begin_products(context: Any) -> Any:
    """``begin_products()``: what a thread has to do before :data:`multiply_wide`."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        if MATRICES:
            shapes = bytearray(64)
            shapes[0] = 1  # The palette; then come bytes in a row, two bytes each, and rows.
            shapes[16:32:2] = bytes([_TILE_BYTES] * 8)
            shapes[48:56] = bytes([_TILE_ROWS] * 8)
            kind = ir.ArrayType(BYTE, len(shapes))
            place = _memory_of(builder, kind)
            builder.store(ir.Constant(kind, shapes), place)
            _Rounder(builder).matrix("ldtilecfg", builder.bitcast(place, BYTE.as_pointer()))
        return context.get_dummy_value()

    return types.void(), generate


@instruction
def end_products(context: Any) -> Any:
    """``end_products()``: give back what :func:`begin_products` has taken."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        if MATRICES:
            _Rounder(builder).matrix("tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


def _on_matrices(emit: _Rounder, arguments: Sequence[Any], rows: int, columns: int) -> None:
    """A block in matrix registers: sums in 0 to 3, samples in 4 and 5, columns in 6 and 7."""
    b = emit.builder
    a, a_step, steps, table, table_step, into, _ = arguments

    def turn(k: Any, _held: Sequence[Any]) -> list[Any]:
        for column in range(columns):
            panel = b.add(table, b.mul(table_step, INT64(column)))
            place = b.add(panel, b.mul(k, INT64(STEP_BYTES)))
            emit.matrix("tileloadd64", 6 + column, emit.bytes_at(place), INT64(_TILE_BYTES))
        for row in range(rows):
            first = b.add(a, b.mul(a_step, INT64(_TILE_ROWS * row)))
            place = b.add(first, b.mul(k, INT64(_TILE_BYTES)))
            emit.matrix("tileloadd64", 4 + row, emit.bytes_at(place), a_step)
        for row in range(rows):
            for column in range(columns):
                emit.matrix("tdpbf16ps", 2 * row + column, 4 + row, 6 + column)
        return []

    tiles = [(row, column) for row in range(rows) for column in range(columns)]
    for row, column in tiles:
        emit.matrix("tilezero", 2 * row + column)
    emit.loop(INT64(0), steps, 1, [], turn)
    for row, column in tiles:
        place = b.add(into, INT64(_TILE_ROWS * row * BLOCK_STEP + _TILE_BYTES * column))
        emit.matrix("tilestored64", 2 * row + column, emit.bytes_at(place), INT64(BLOCK_STEP))


def _on_vectors(emit: _Rounder, arguments: Sequence[Any], columns: int) -> None:
    """A block in vectors, ``TILE_ROWS`` rows at a time."""
    b = emit.builder
    a, a_step, steps, table, table_step, into, count = arguments
    pairs = b.mul(steps, INT64(LANES))
    panels = [b.add(table, b.mul(table_step, INT64(column))) for column in range(columns)]

    def some_rows(first: Any, _held: Sequence[Any]) -> list[Any]:
        rows = [b.add(a, b.mul(a_step, b.add(first, INT64(row)))) for row in range(TILE_ROWS)]

        def turn(k: Any, held: Sequence[Any]) -> list[Any]:
            lines = [emit.words(b.add(panel, b.mul(k, INT64(4 * LANES)))) for panel in panels]
            new = []
            for number, row in enumerate(rows):
                place = b.inttoptr(b.add(row, b.mul(k, INT64(4))), INT32.as_pointer())
                pair = b.load(place)
                pair.align = 2
                for column, line in enumerate(lines):
                    new.append(emit.add_products(held[number * columns + column], pair, line))
            return new

        sums = emit.loop(INT64(0), pairs, 1, [ZERO] * (TILE_ROWS * columns), turn)
        place = emit.floats(b.add(into, b.mul(first, INT64(BLOCK_STEP))))
        for number, value in enumerate(sums):
            row, column = divmod(number, columns)
            emit.store(value, emit.at(place, PANEL * row + LANES * column))
        return []

    emit.loop(INT64(0), count, TILE_ROWS, [], some_rows)


def _multiply(columns: int) -> Any:
    """A block of one or two vectors of columns."""

    @instruction
    def multiply(
        context: Any,
        a: Any,
        a_step: Any,
        steps: Any,
        table: Any,
        table_step: Any,
        into: Any,
        count: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = _Rounder(builder)
            if not MATRICES:
                _on_vectors(emit, arguments, columns)
                return context.get_dummy_value()
            few = builder.icmp_signed("<=", arguments[-1], INT64(_TILE_ROWS))
            with builder.if_else(few) as (one, two):
                with one:
                    _on_matrices(emit, arguments, 1, columns)
                with two:
                    _on_matrices(emit, arguments, 2, columns)
            return context.get_dummy_value()

        return types.void(*[WORD] * 7), generate

    return multiply


multiply_wide: Any = _multiply(2)
"""``multiply_wide(a, a_step, steps, table, table_step, into, count)``: a block of PANEL columns.

into_i = Σ_k a_i[k] table[k] for ``count`` samples, up to BLOCK_ROWS; further rows of ``into`` may
be overwritten. ``a`` is the address of rows of bfloat16, ``a_step`` bytes
apart, ``table`` of pairs of rows of LANES columns, the next columns lying ``table_step`` bytes on;
there are ``steps`` × 2 LANES numbers to a sum. ``into`` is of BLOCK_ROWS × PANEL float32.
"""
multiply_narrow: Any = _multiply(1)
"""As :data:`multiply_wide`, for the first LANES columns alone."""


def _row(size: int, convert: Callable[[_Rounder, Any, Any], Any]) -> Any:
    """See :data:`round_row`; ``convert(emit, address, mask)`` makes bfloat16 of what lies there."""

    @instruction
    def row(context: Any, source: Any, count: Any, target: Any, width: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = _Rounder(builder)
            source, count, target, width = arguments

            def turns(masked: bool) -> Callable[[Any, Sequence[Any]], list[Any]]:
                def turn(i: Any, _held: Sequence[Any]) -> list[Any]:
                    mask = emit.leading(builder.sub(count, i)) if masked else None
                    place = builder.add(source, builder.mul(i, INT64(size)))
                    found = convert(emit, place, mask)
                    emit.store_shorts(found, builder.add(target, builder.mul(i, INT64(2))))
                    return []

                return turn

            whole = builder.sub(count, builder.srem(count, INT64(LANES)))
            emit.loop(INT64(0), whole, LANES, [], turns(False))
            emit.loop(whole, width, LANES, [], turns(True))
            return context.get_dummy_value()

        return types.void(*[WORD] * 4), generate

    return row


def _from_floats(emit: _Rounder, address: Any, mask: Any) -> Any:
    place = emit.floats(address)
    return emit.rounded(emit.vector(place) if mask is None else emit.masked_vector(place, mask))


round_row: Any = _row(4, _from_floats)
"""``round_row(source, count, target, width)``: ``count`` float32 as bfloat16, then zeros.

``width`` is a multiple of LANES: so many are written in all.
"""
copy_row: Any = _row(2, _Rounder.load_shorts)
"""As :data:`round_row`, of numbers that are bfloat16 already."""


@instruction
def round_block(
    context: Any,
    block: Any,
    count: Any,
    ranks: Any,
    first: Any,
    gains: Any,
    target: Any,
    step: Any,
) -> Any:
    """``round_block(block, count, ranks, first, gains, target, step)``: a block as bfloat16.

    Its columns are ranks from ``first`` on. Row i is multiplied by the gains at ``gains``, and
    becomes 0 from ``ranks[i]`` on; it is written to ``target`` + i ``step``.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = _Rounder(builder)
        block, count, ranks, first, gains, target, step = arguments
        weights = [emit.vector(emit.at(emit.floats(gains), LANES * v)) for v in (0, 1)]

        def turn(i: Any, _held: Sequence[Any]) -> list[Any]:
            line = emit.at(emit.floats(block), builder.mul(i, INT64(PANEL)))
            within = builder.sub(builder.load(emit.at(emit.integers(ranks), i)), first)
            row = builder.add(target, builder.mul(step, i))
            for v, weight in enumerate(weights):
                product = builder.fmul(emit.vector(emit.at(line, LANES * v)), weight)
                mask = emit.leading(builder.sub(within, INT64(LANES * v)))
                place = builder.add(row, INT64(2 * LANES * v))
                emit.store_rounded(builder.select(mask, product, ZERO), place)
            return []

        emit.loop(INT64(0), count, 1, [], turn)
        return context.get_dummy_value()

    return types.void(*[WORD] * 7), generate


def _put(store: Callable[[_Rounder, Any, Any, Any, Any], None]) -> Any:
    """See :data:`put_block`; ``store(emit, vector, row, index, mask)`` writes a vector of a row."""

    @instruction
    def put(
        context: Any,
        block: Any,
        count: Any,
        biases: Any,
        floor: Any,
        outputs: Any,
        column: Any,
        width: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = _Rounder(builder)
            block, count, biases, floor, outputs, column, width = arguments
            least = emit.broadcast(floor)

            def rows(masks: Sequence[Any]) -> None:
                def turn(i: Any, _held: Sequence[Any]) -> list[Any]:
                    line = emit.at(emit.floats(block), builder.mul(i, INT64(PANEL)))
                    bias, row = (
                        builder.load(emit.at(emit.integers(part), i)) for part in (biases, outputs)
                    )
                    for v, mask in enumerate(masks):
                        index = builder.add(column, INT64(LANES * v))
                        begin = emit.vector(emit.at(emit.floats(bias), index))
                        value = builder.fadd(emit.vector(emit.at(line, LANES * v)), begin)
                        store(emit, emit.at_least(least, value), row, index, mask)
                    return []

                emit.loop(INT64(0), count, 1, [], turn)

            masks = [emit.leading(builder.sub(width, INT64(LANES * v))) for v in (0, 1)]
            whole = builder.icmp_signed(">=", width, INT64(PANEL))
            with builder.if_else(whole) as (all_of, some_of):
                with all_of:
                    rows([None, None])
                with some_of:
                    rows(masks)
            return context.get_dummy_value()

        kinds = [WORD] * 3 + [types.float32] + [WORD] * 3
        return types.void(*kinds), generate

    return put


def _store_floats(emit: _Rounder, vector: Any, row: Any, index: Any, mask: Any) -> None:
    place = emit.at(emit.floats(row), index)
    if mask is None:
        emit.store(vector, place)
    else:
        emit.masked_store(vector, place, mask)


def _store_halves(emit: _Rounder, vector: Any, row: Any, index: Any, mask: Any) -> None:
    emit.store_rounded(vector, emit.builder.add(row, emit.builder.mul(index, INT64(2))), mask)


put_block: Any = _put(_store_floats)
"""``put_block(block, count, biases, floor, outputs, column, width)``: a block as outputs.

To row i the numbers from ``column`` on of the i-th of ``biases`` are added, and what is below
``floor`` becomes ``floor``; ``width`` numbers at most go to the i-th of ``outputs``, from
``column`` on. Both are addresses of row addresses; biases are read in whole panels.
"""
put_rounded_block: Any = _put(_store_halves)
"""As :data:`put_block`, of outputs in bfloat16."""
