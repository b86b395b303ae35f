"""Arrays on a GPU, or on Numba's simulator of one, for tests that run on both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import cuda

from simulators.kernels.cuda.arrays import SIMULATED

__all__ = ["SIMULATED", "from_gpu", "needs_gpu", "on_gpu"]
needs_gpu = pytest.mark.skipif(not cuda.is_available(), reason="there is no GPU")


def on_gpu(array: np.ndarray | None) -> Any:
    """A copy there; None stays None."""
    return None if array is None else cuda.to_device(np.ascontiguousarray(array))


def from_gpu(array: Any) -> np.ndarray:
    """A copy on the host, when all that runs on the GPU is done."""
    cuda.synchronize()
    found: np.ndarray = array.copy_to_host()
    return found
