"""Low-rank maps at a rank per sample on conventional hardware: NumPy in, NumPy out."""

from simulators.kernels.dispatch import Choice
from simulators.kernels.forward import explain, low_rank_forward
from simulators.kernels.layout import PackedFactors
from simulators.kernels.pool import set_threads
from simulators.kernels.reference import low_rank_reference
from simulators.kernels.workspace import Workspace

__all__ = [
    "Choice",
    "PackedFactors",
    "Workspace",
    "explain",
    "low_rank_forward",
    "low_rank_reference",
    "set_threads",
]
