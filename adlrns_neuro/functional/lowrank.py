"""The low-rank linear map as a pure tensor function."""

from __future__ import annotations

from torch import Tensor


def low_rank_linear(x: Tensor, U: Tensor, V: Tensor, rank: int) -> Tensor:
    """Multiply by the first ``rank`` columns of a factor pair: y = (x V[:, :r]) U[:, :r]ᵀ.

    Args:
        x: inputs, shape (..., in).
        U: output factor, shape (out, r_max).
        V: input factor, shape (in, r_max).
        rank: r, 1 to r_max.

    Returns:
        Outputs, shape (..., out), in the units of x times those of ``U Vᵀ``. The cost per row is
        r (in + out) multiply-accumulates instead of in * out.
    """
    return (x @ V[:, :rank]) @ U[:, :rank].T
