"""Events: which inputs are not zero, and sums of the panel rows that they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from simulators.kernels.emit import INT32, INT64, ZERO, Emitter, instruction, side_by_side
from simulators.kernels.vector import LANES, PANEL

PLACES = ir.VectorType(INT32, LANES)
WORD = types.int64


@instruction
def count_events(context: Any, x: Any, count: Any) -> Any:
    """``count_events(x, count)``: how many of the ``count`` numbers at an address are not zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        x, count = arguments
        source = emit.floats(x)

        def turn(i: Any, found: Sequence[Any]) -> list[Any]:
            line = emit.masked_vector(emit.at(source, i), emit.leading(builder.sub(count, i)))
            return [builder.add(found[0], _population(builder, _not_zero(builder, line)))]

        return emit.loop(INT64(0), count, LANES, [INT64(0)], turn)[0]

    return types.int64(WORD, WORD), generate


def _not_zero(builder: Any, line: Any) -> Any:
    """Mask of the lanes that are not zero; NaN is not."""
    return builder.fcmp_unordered("!=", line, ZERO)


def _population(builder: Any, mask: Any) -> Any:
    """Lanes that a mask names, an int64."""
    bits = builder.ctpop(builder.bitcast(mask, ir.IntType(LANES)))
    return builder.zext(bits, INT64)


@instruction
def find_events(context: Any, x: Any, count: Any, places: Any) -> Any:
    """``find_events(x, count, places)``: how many of ``count`` numbers at an address are not zero.

    Writes their places (int32) to an address with room for count + LANES of them. NaN is not zero.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        x, count, places = arguments
        source, into = emit.floats(x), builder.inttoptr(places, INT32.as_pointer())
        lanes = ir.Constant(PLACES, list(range(LANES)))
        unset = ir.Constant(PLACES, [0] * LANES)
        compress = f"llvm.experimental.vector.compress.v{LANES}i32"

        def keep(i: Any, found: Any, line: Any) -> Any:
            mask = _not_zero(builder, line)
            index = builder.add(emit.spread(builder.trunc(i, INT32), PLACES), lanes)
            place = builder.bitcast(emit.at(into, found), PLACES.as_pointer())
            builder.store(emit.call(compress, PLACES, [index, mask, unset]), place).align = 4
            return builder.add(found, _population(builder, mask))

        def turn(i: Any, found: Sequence[Any]) -> list[Any]:
            return [keep(i, found[0], emit.vector(emit.at(source, i)))]

        def rest(i: Any, found: Sequence[Any]) -> list[Any]:
            there = emit.leading(builder.sub(count, i))
            return [keep(i, found[0], emit.masked_vector(emit.at(source, i), there))]

        whole = builder.sub(count, builder.srem(count, INT64(LANES)))
        found = emit.loop(INT64(0), whole, LANES, [INT64(0)], turn)
        return emit.loop(whole, count, LANES, found, rest)[0]

    return types.int64(*[WORD] * 3), generate


def _add_rows(vectors: int) -> Any:
    """Sum of the rows of a panel that events name, see :data:`add_wide`."""

    @instruction
    def add_rows(
        context: Any, x: Any, places: Any, count: Any, panel: Any, z: Any, scale: Any
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit = Emitter(builder)
            x, places, count, panel, z, scale = arguments
            index, table = builder.inttoptr(places, INT32.as_pointer()), emit.floats(panel)
            source = emit.floats(x)

            def add(event: Any, sums: Sequence[Any]) -> list[Any]:
                place = builder.zext(builder.load(emit.at(index, event)), INT64)
                row = emit.at(table, builder.mul(place, INT64(PANEL)))
                value = emit.broadcast(builder.load(emit.at(source, place)))
                columns = [emit.vector(emit.at(row, LANES * v)) for v in range(vectors)]
                return [emit.fma(value, c, s) for c, s in zip(columns, sums, strict=True)]

            apart, zeros = side_by_side(vectors), [ZERO] * vectors
            for v, total in enumerate(emit.loop_apart(INT64(0), count, apart, zeros, add)):
                gain = emit.vector(emit.at(emit.floats(scale), LANES * v))
                emit.store(builder.fmul(total, gain), emit.at(emit.floats(z), LANES * v))
            return context.get_dummy_value()

        return types.void(*[WORD] * 6), generate

    return add_rows


add_wide: Any = _add_rows(2)
"""``add_wide(x, places, count, panel, z, scale)`` adds up what events send.

z = scale × Σ_e x[places[e]] panel[places[e]] over ``count`` events; z, scale and each row of the
panel are PANEL numbers, all arguments but ``count`` addresses.
"""
add_narrow: Any = _add_rows(1)
"""As :data:`add_wide`, for the first LANES columns of the panel alone."""
