"""Arrays on a GPU, or on Numba's simulator of one, for tests that run on both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import cuda

from mapping.errors import AdlrnsError
from simulators.kernels.cuda import require_gpu
from simulators.kernels.cuda.arrays import SIMULATED

__all__ = ["SIMULATED", "WITHOUT_GPU", "from_gpu", "needs_gpu", "on_gpu"]


def reason_to_skip() -> str:
    """Why nothing can run on a GPU here, or nothing."""
    try:
        require_gpu()
    except AdlrnsError as error:
        return str(error)
    return ""


WITHOUT_GPU = reason_to_skip()
needs_gpu = pytest.mark.skipif(bool(WITHOUT_GPU), reason=WITHOUT_GPU)


def on_gpu(array: np.ndarray | None) -> Any:
    """A copy there; None stays None."""
    return None if array is None else cuda.to_device(np.ascontiguousarray(array))


def from_gpu(array: Any) -> np.ndarray:
    """A copy on the host, when all that runs on the GPU is done."""
    cuda.synchronize()
    found: np.ndarray = array.copy_to_host()
    return found
