"""Numbers at addresses, and memory that several threads read and write, in compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulators.kernels.emit import DOUBLE, FLOAT, INT64, function_named, instruction


def _place(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, INT64.as_pointer())


def _load(number: Any, kind: Any) -> Any:
    """Read a number of a type, LLVM's and Numba's, at an address."""

    @instruction
    def read(context: Any, address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], number.as_pointer()))

        return kind(types.int64), generate

    return read


def _store(number: Any, kind: Any) -> Any:
    """Write a number of a type, LLVM's and Numba's, to an address."""

    @instruction
    def write(context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, value = arguments
            builder.store(value, builder.inttoptr(address, number.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, kind), generate

    return write


load: Any = _load(INT64, types.int64)
"""``load(address)``: the int64 there."""
load_double: Any = _load(DOUBLE, types.float64)
"""``load_double(address)``: the float64 there."""
load_float: Any = _load(FLOAT, types.float32)
"""``load_float(address)``: the float32 there."""
store: Any = _store(INT64, types.int64)
"""``store(address, value)`` writes an int64."""
store_float: Any = _store(FLOAT, types.float32)
"""``store_float(address, value)`` writes a float32."""
store_double: Any = _store(DOUBLE, types.float64)
"""``store_double(address, value)`` writes a float64."""


@instruction
def load_shared(context: Any, address: Any) -> Any:
    """The int64 at ``address``, and all that its writer wrote before it."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), generate


@instruction
def store_shared(context: Any, address: Any, value: Any) -> Any:
    """Write an int64 to ``address`` after all that was written before."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _place(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@instruction
def add_shared(context: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at ``address`` in one step, after all that was written before."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.atomic_rmw("add", _place(builder, arguments[0]), arguments[1], "acq_rel")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@instruction
def exchange(context: Any, address: Any, expected: Any, value: Any) -> Any:
    """Write an int64 to ``address`` if ``expected`` still stands there, in one step; whether so."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = _place(builder, arguments[0])
        result = builder.cmpxchg(place, *arguments[1:], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@instruction
def give_way(context: Any) -> Any:
    """Let another thread of the machine run on this core (POSIX ``sched_yield``)."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        function = function_named(builder.module, kind, "sched_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate
