"""Random numbers for compiled searches, the same on every machine (Numba)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Integer = int | np.int64
UInt64s = npt.NDArray[np.uint64]


@njit(cache=True, nogil=True)
def below(state: UInt64s, bound: Integer) -> Integer:
    """A number in ``0 .. bound - 1`` from Marsaglia's xorshift64 (J. Stat. Soft. 8(14), 2003)."""
    s = state[0]
    s ^= s << np.uint64(13)
    s ^= s >> np.uint64(7)
    s ^= s << np.uint64(17)
    state[0] = s
    return np.int64(((s >> np.uint64(33)) * np.uint64(bound)) >> np.uint64(31))


@njit(cache=True, nogil=True)
def uniform(state: UInt64s) -> float:
    """A number in [0, 1), of 31 bits."""
    return float(below(state, 1 << 31)) * 2.0**-31
