"""The low-rank map as its equation says, for the kernels to be held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def low_rank_reference(
    x: ArrayLike,
    U: ArrayLike,
    V: ArrayLike,
    ranks: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
) -> NDArray[np.floating[Any]]:
    """y_i = U[:, :r_i] (scale[:r_i] · (V[:, :r_i]ᵀ x_i)) + bias, one sample after the other.

    Args:
        x: inputs, shape (..., in).
        U, V: factors, shapes (out, r_max) and (in, r_max).
        ranks: r_i of each sample, 0 to r_max, broadcast to shape (...). Columns beyond a sample's
            rank are not touched, so that NaN in them does not reach its output.
        scale: gain of each rank, shape (r_max,); 1 if None.
        bias: shape (out,); 0 if None.
        dtype: of all sums and of the result.

    Returns:
        Outputs, shape (..., out).
    """
    inputs = np.asarray(x, dtype)
    left, right = np.asarray(U, dtype), np.asarray(V, dtype)
    leading = inputs.shape[:-1]
    rows = inputs.reshape(-1, inputs.shape[-1])
    chosen = np.broadcast_to(np.asarray(ranks), leading).reshape(-1)
    gains = np.ones(right.shape[1], dtype) if scale is None else np.asarray(scale, dtype)
    outputs = np.zeros((len(rows), len(left)), dtype)
    for output, row, rank in zip(outputs, rows, chosen, strict=True):
        output[:] = left[:, :rank] @ (gains[:rank] * (right[:, :rank].T @ row))
    if bias is not None:
        outputs += np.asarray(bias, dtype)
    return outputs.reshape(*leading, len(left))
