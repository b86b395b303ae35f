"""Vector instructions and loops, written into the LLVM code of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from simulators.kernels.vector import HALF, LANES

FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)
PAIRS = ir.VectorType(DOUBLE, HALF)
"""A vector of pairs of floats."""
ZERO = ir.Constant(VECTOR, [ir.Constant(FLOAT, 0.0)] * LANES)


function_named: Any = cgutils.get_or_insert_function
"""``function_named(module, type, name)``: declared once, of LLVM or of the C library."""


def instruction(function: Callable[..., Any]) -> Any:
    """Make ``function``, which returns a signature and writes code, callable from compiled code."""
    made: Any = intrinsic
    return made(function)


def side_by_side(sums: int) -> int:
    """How many turns have sums of their own, so that additions need not await those before.

    Two additions begin in a cycle and each takes four, so there is work for eight at least.
    """
    return 1 << max(0, 3 - (sums.bit_length() - 1))


def _as_written(module: Any) -> Any:
    """Marks a loop that LLVM shall not unroll.

    Turns are as long as they should be already. Where every load of a turn steps on by 2 KiB, as
    they do once LLVM has put turns together, a Zen 5 takes half as long again to read from the
    second cache.
    """
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    mark = module.add_metadata([option, option])
    mark.operands = (mark, option)  # LLVM wants such a mark to name itself first.
    return mark


class Emitter:
    """Writes at the end of the block that ``builder`` is in."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def call(self, name: str, result: Any, arguments: Sequence[Any], **flags: Any) -> Any:
        """Call an LLVM intrinsic, or a function of the C library."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = function_named(self.builder.module, kind, name)
        return self.builder.call(function, arguments, **flags)

    def floats(self, address: Any) -> Any:
        """``address``, an integer, as a pointer to float32."""
        return self.builder.inttoptr(address, FLOAT.as_pointer())

    def integers(self, address: Any) -> Any:
        """``address``, an integer, as a pointer to int64."""
        return self.builder.inttoptr(address, INT64.as_pointer())

    def at(self, pointer: Any, index: Any) -> Any:
        """Pointer to the element of that ``index``, a number or a value."""
        return self.builder.gep(pointer, [INT64(index) if isinstance(index, int) else index])

    def rows(self, address: Any, count: int) -> list[Any]:
        """The first rows whose addresses stand at ``address``, as pointers to float32."""
        first = self.integers(address)
        return [self.floats(self.builder.load(self.at(first, i))) for i in range(count)]

    def vector(self, pointer: Any, kind: Any = VECTOR) -> Any:
        """The vector that starts at a float."""
        loaded = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, value: Any, pointer: Any) -> None:
        """Store a vector that starts at a float."""
        place = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, place).align = 4

    def expect_store(self, pointer: Any) -> None:
        """Have the cache line of a float fetched, to be written to later."""
        place = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        to_write, near, data = INT32(1), INT32(3), INT32(1)
        self.call("llvm.prefetch.p0", ir.VoidType(), [place, to_write, near, data])

    def expect_load(self, pointer: Any) -> None:
        """Have the cache line of a float fetched to the second cache, to be read later."""
        place = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        to_read, middle, data = INT32(0), INT32(2), INT32(1)
        self.call("llvm.prefetch.p0", ir.VoidType(), [place, to_read, middle, data])

    def spread(self, scalar: Any, vector: Any) -> Any:
        """A vector of that type whose lanes are all ``scalar``."""
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, INT32(0))
        lanes = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def broadcast(self, scalar: Any) -> Any:
        """A vector of one float."""
        return self.spread(scalar, VECTOR)

    def pairs(self, pointer: Any) -> Any:
        """A pointer to floats as one to pairs of them."""
        return self.builder.bitcast(pointer, DOUBLE.as_pointer())

    def broadcast_pair(self, pointer: Any) -> Any:
        """A vector of one pair of floats, again and again."""
        loaded = self.builder.load(pointer)
        loaded.align = 4
        return self.builder.bitcast(self.spread(loaded, PAIRS), VECTOR)

    def first_of_pairs(self, scalar: Any) -> Any:
        """A vector of pairs of one float and 0."""
        lanes = ir.Constant(ir.VectorType(INT32, LANES), [LANES * (i % 2) for i in range(LANES)])
        return self.builder.shuffle_vector(self.broadcast(scalar), ZERO, lanes)

    def pair_totals(self, vectors: Sequence[Any]) -> Any:
        """The sums of the pairs that vectors hold, half as many as these have lanes."""
        size = HALF * len(vectors)
        first, last = vectors[0], vectors[-1]
        even, odd = (
            ir.Constant(ir.VectorType(INT32, size), [2 * i + side for i in range(size)])
            for side in (0, 1)
        )
        b = self.builder
        return b.fadd(b.shuffle_vector(first, last, even), b.shuffle_vector(first, last, odd))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a × b + c, rounded once."""
        return self.call(f"llvm.fma.v{LANES}f32", VECTOR, [a, b, c])

    def at_least(self, floor: Any, vector: Any) -> Any:
        """A vector whose lanes below those of ``floor`` are replaced by them; NaN is not below."""
        below = self.builder.fcmp_ordered("<", vector, floor)
        return self.builder.select(below, floor, vector)

    def total(self, vector: Any) -> Any:
        """All lanes of a vector, added up in pairs."""
        start = ir.Constant(FLOAT, -0.0)
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        return self.call(name, FLOAT, [start, vector], fastmath=("reassoc",))

    def leading(self, count: Any) -> Any:
        """Mask of the lanes below ``count``, an int64."""
        index = ir.VectorType(INT64, LANES)
        lanes = ir.Constant(index, list(range(LANES)))
        return self.builder.icmp_signed("<", lanes, self.spread(count, index))

    def masked_vector(self, pointer: Any, mask: Any) -> Any:
        """The lanes of a vector that ``mask`` names; the others are 0 and not read."""
        place = self.builder.bitcast(pointer, VECTOR.as_pointer())
        return self.call(f"llvm.masked.load.v{LANES}f32.p0", VECTOR, [place, INT32(4), mask, ZERO])

    def masked_store(self, value: Any, pointer: Any, mask: Any) -> None:
        """Store the lanes that ``mask`` names."""
        place = self.builder.bitcast(pointer, VECTOR.as_pointer())
        arguments = [value, place, INT32(4), mask]
        self.call(f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), arguments)

    def loop(
        self,
        first: Any,
        last: Any,
        step: int,
        carried: Sequence[Any],
        body: Callable[[Any, Sequence[Any]], Sequence[Any]],
    ) -> list[Any]:
        """``for i in range(first, last, step)`` over values that each turn replaces.

        Args:
            first, last: bounds, int64 values; nothing runs unless first < last.
            step: above 0.
            carried: values before the loop.
            body: ``body(i, values)`` writes one turn and returns the new values.

        Returns:
            The values after the loop.
        """
        b = self.builder
        before = b.block
        turn, after = b.append_basic_block("turn"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed("<", first, last), turn, after)
        b.position_at_end(turn)
        i = b.phi(INT64)
        i.add_incoming(first, before)
        held = [b.phi(value.type) for value in carried]
        for phi, value in zip(held, carried, strict=True):
            phi.add_incoming(value, before)
        new = body(i, held)
        following = b.add(i, INT64(step))
        end = b.block
        i.add_incoming(following, end)
        for phi, value in zip(held, new, strict=True):
            phi.add_incoming(value, end)
        again = b.cbranch(b.icmp_signed("<", following, last), turn, after)
        again.set_metadata("llvm.loop", _as_written(b.module))
        b.position_at_end(after)
        results = []
        for old, value in zip(carried, new, strict=True):
            result = b.phi(value.type)
            result.add_incoming(old, before)
            result.add_incoming(value, end)
            results.append(result)
        return results

    def loop_apart(
        self,
        first: Any,
        last: Any,
        apart: int,
        sums: Sequence[Any],
        add: Callable[[Any, Sequence[Any]], Sequence[Any]],
    ) -> list[Any]:
        """As :meth:`loop` in steps of 1 over sums, of which so many turns ``apart`` are kept.

        Their additions need not await each other; they are added up at the end.
        """
        if apart == 1:
            return self.loop(first, last, 1, sums, add)
        b, size = self.builder, len(sums)
        whole = b.sub(last, b.srem(b.sub(last, first), INT64(apart)))

        def turns(k: Any, held: Sequence[Any]) -> list[Any]:
            new: list[Any] = []
            for i in range(apart):
                new += add(b.add(k, INT64(i)), held[size * i : size * (i + 1)])
            return new

        parts = self.loop(first, whole, apart, [*sums, *[ZERO] * (size * (apart - 1))], turns)
        while len(parts) > size:
            half = len(parts) // 2
            parts = [
                b.fadd(one, other) for one, other in zip(parts[:half], parts[half:], strict=True)
            ]
        return self.loop(whole, last, 1, parts, add)
