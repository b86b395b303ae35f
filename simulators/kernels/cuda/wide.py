"""Four numbers of shared memory by one instruction, which Numba has no expression for."""

from __future__ import annotations

from typing import Any

from numba import float32, types

from simulators.kernels.cuda.arrays import SIMULATED

WIDE = 4
"""Numbers that are read at once."""
ALIGNMENT = None if SIMULATED else 16
"""Bytes to which arrays that are read so are aligned; the simulator knows no alignment."""

if SIMULATED:

    def load_wide(array: Any, place: int) -> Any:
        """The numbers at ``place`` and after it, as the compiled one reads them."""
        return tuple(array[place : place + WIDE])

else:
    from llvmlite import ir
    from numba.core import cgutils
    from numba.cuda.extending import intrinsic

    @intrinsic
    def load_wide(typing_context: Any, array: Any, place: Any) -> Any:
        """The numbers at ``place``, a multiple of ``WIDE``, and after it, of a flat float32 array.

        The array has to be aligned to ``ALIGNMENT``.
        """
        numbers = types.UniTuple(float32, WIDE)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            view = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
            vector = ir.VectorType(ir.FloatType(), WIDE)
            address = builder.gep(view.data, [arguments[1]])
            address = builder.bitcast(address, vector.as_pointer(view.data.type.addrspace))
            loaded = builder.load(address, align=ALIGNMENT)
            parts = [builder.extract_element(loaded, ir.IntType(32)(d)) for d in range(WIDE)]
            return context.make_tuple(builder, numbers, parts)

        return numbers(array, place), emit
