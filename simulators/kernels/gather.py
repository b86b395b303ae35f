"""Events: which inputs are not zero, and sums of the panel rows that they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from simulators.kernels.emit import INT32, INT64, ZERO, Emitter, instruction
from simulators.kernels.vector import LANES, PANEL

PLACES = ir.VectorType(INT32, LANES)
WORD = types.int64
AT_ONCE = 4
"""Events whose sums are independent, so that an addition need not await the one before."""


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
def find_events(context: Any, x: Any, count: Any, places: Any, values: Any) -> Any:
    """``find_events(x, count, places, values)``: how many of ``count`` numbers are not zero.

    Writes their places (int32) and values to two addresses with room for count + LANES of each.
    NaN is not zero.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        x, count, places, values = arguments
        source = emit.floats(x)
        into_places, into_values = (
            builder.inttoptr(address, INT32.as_pointer()) for address in (places, values)
        )
        lanes = ir.Constant(PLACES, list(range(LANES)))
        unset = ir.Constant(PLACES, [0] * LANES)
        compress = f"llvm.experimental.vector.compress.v{LANES}i32"

        def store(into: Any, found: Any, numbers: Any) -> None:
            place = builder.bitcast(emit.at(into, found), PLACES.as_pointer())
            builder.store(numbers, place).align = 4

        def keep(i: Any, found: Any, line: Any) -> Any:
            mask = _not_zero(builder, line)
            index = builder.add(emit.spread(builder.trunc(i, INT32), PLACES), lanes)
            store(into_places, found, emit.call(compress, PLACES, [index, mask, unset]))
            numbers = builder.bitcast(line, PLACES)
            store(into_values, found, emit.call(compress, PLACES, [numbers, mask, unset]))
            return builder.add(found, _population(builder, mask))

        def turn(i: Any, found: Sequence[Any]) -> list[Any]:
            return [keep(i, found[0], emit.vector(emit.at(source, i)))]

        def rest(i: Any, found: Sequence[Any]) -> list[Any]:
            there = emit.leading(builder.sub(count, i))
            return [keep(i, found[0], emit.masked_vector(emit.at(source, i), there))]

        whole = builder.sub(count, builder.srem(count, INT64(LANES)))
        found = emit.loop(INT64(0), whole, LANES, [INT64(0)], turn)
        return emit.loop(whole, count, LANES, found, rest)[0]

    return types.int64(*[WORD] * 4), generate


@instruction
def add_rows(
    context: Any, places: Any, values: Any, count: Any, panel: Any, z: Any, scale: Any
) -> Any:
    """``add_rows(places, values, count, panel, z, scale)`` adds up what the events send.

    z = scale × Σ_e values[e] panel[places[e]] over ``count`` events; z, scale and each row of the
    panel are PANEL numbers, all arguments but ``count`` addresses.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        places, values, count, panel, z, scale = arguments
        index, table = builder.inttoptr(places, INT32.as_pointer()), emit.floats(panel)
        weights = emit.floats(values)

        def add(event: Any, sums: Sequence[Any]) -> list[Any]:
            place = builder.zext(builder.load(emit.at(index, event)), INT64)
            row = emit.at(table, builder.mul(place, INT64(PANEL)))
            value = emit.broadcast(builder.load(emit.at(weights, event)))
            return [
                emit.fma(value, emit.vector(emit.at(row, LANES * v)), sums[v]) for v in range(2)
            ]

        def turn(event: Any, sums: Sequence[Any]) -> list[Any]:
            new = []
            for e in range(AT_ONCE):
                new += add(builder.add(event, INT64(e)), sums[2 * e : 2 * e + 2])
            return new

        whole = builder.sub(count, builder.srem(count, INT64(AT_ONCE)))
        parts = emit.loop(INT64(0), whole, AT_ONCE, [ZERO] * (2 * AT_ONCE), turn)
        sums = parts[:2]
        for e in range(1, AT_ONCE):
            sums = [builder.fadd(sums[v], parts[2 * e + v]) for v in range(2)]
        sums = emit.loop(whole, count, 1, sums, add)
        for v in range(2):
            gain = emit.vector(emit.at(emit.floats(scale), LANES * v))
            emit.store(builder.fmul(sums[v], gain), emit.at(emit.floats(z), LANES * v))
        return context.get_dummy_value()

    return types.void(*[WORD] * 6), generate
