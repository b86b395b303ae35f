"""How the kernels are compiled.

They are given arrays and never make any, so Numba need not count references: with that on, every
call touched the counter of each array in the program's and the state's tuples, which took four
fifths of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

Function = Callable[..., Any]

_njit: Any = numba.njit
_OPTIONS = {"cache": True, "nogil": True, "_nrt": False}


def kernel(function: Function) -> Function:
    """Compile ``function``, a loop that is worth a call, to be cached on disk."""
    compiled: Function = _njit(**_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Compile ``function`` into whatever calls it; the tuples it is given need not be copied."""
    compiled: Function = _njit(**_OPTIONS, inline="always")(function)
    return compiled
