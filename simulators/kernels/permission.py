"""Whether the system lets this process use the CPU's matrix registers."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from simulators.kernels.vector import MATRICES

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""Linux on x86-64 keeps their contents for processes that have asked it to, see its
``Documentation/arch/x86/xstate.rst``."""


@cache
def may_multiply() -> bool:
    """Whether kernels for bfloat16 can run: they can unless they need registers that are denied.

    The permission is one of the process, all its threads and those that it forks.
    """
    if not MATRICES:
        return True
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None).syscall
    return bool(call(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)
