"""Arrays on a GPU, of whatever library, as what a kernel needs to know of them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
"""Whether Numba's simulator of a GPU, whose memory is the host's, takes the place of one."""
INTERFACE = "__array_interface__" if SIMULATED else "__cuda_array_interface__"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceArray:
    """A view of memory that somebody else owns.

    Attributes:
        address: of the first element.
        shape: its sizes.
        strides: elements from one to the next along each axis.
        dtype: NumPy's name of the type.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return item_size(self.dtype)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie side by side in C's order."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    @property
    def extent(self) -> tuple[int, int]:
        """Places of the lowest element and beyond the highest, counted from the first."""
        if not self.size:
            return 0, 0
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return sum(min(step, 0) for step in steps), sum(max(step, 0) for step in steps) + 1

    def overlaps(self, other: DeviceArray) -> bool:
        """Whether both may share memory."""
        (low, high), (other_low, other_high) = self.extent, other.extent
        return (
            self.address + low * self.itemsize < other.address + other_high * other.itemsize
            and other.address + other_low * other.itemsize < self.address + high * self.itemsize
        )

    def part(self, start: int, size: int, dtype: str) -> DeviceArray:
        """``size`` numbers of four bytes from the ``start``-th on, of memory that is contiguous."""
        return DeviceArray(
            address=self.address + 4 * start, shape=(size,), strides=(1,), dtype=dtype
        )


@cache
def item_size(dtype: str) -> int:
    """Bytes of an element of the type with this name."""
    return np.dtype(dtype).itemsize


def device_array(array: Any) -> DeviceArray | None:
    """What ``array`` is, or None unless it is on a GPU.

    Everything counts that has ``__cuda_array_interface__``: arrays of Numba and CuPy, tensors of
    torch that need no gradient.
    """
    if isinstance(array, DeviceArray):
        return array
    found = None if isinstance(array, np.ndarray) else getattr(array, INTERFACE, None)
    if found is None:
        return None
    shape, dtype = tuple(found["shape"]), np.dtype(found["typestr"])
    strides = found.get("strides")
    if strides is None:
        ends = [*shape[1:], 1]
        places = tuple(math.prod(ends[axis:]) for axis in range(len(shape)))
    else:
        places = tuple(stride // dtype.itemsize for stride in strides)
    return DeviceArray(address=found["data"][0], shape=shape, strides=places, dtype=dtype.name)
