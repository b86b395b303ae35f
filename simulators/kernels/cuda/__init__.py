"""Low-rank maps at a rank per sample on a GPU, for arrays that are there."""

from simulators.kernels.cuda.arrays import DeviceArray, device_array
from simulators.kernels.cuda.forward import low_rank_forward, require_gpu, workspace_bytes

__all__ = ["DeviceArray", "device_array", "low_rank_forward", "require_gpu", "workspace_bytes"]
