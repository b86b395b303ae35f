"""Activation-whitened low-rank factors of a weight matrix, in NumPy.

A factor pair ``U`` (out, rank), ``V`` (in, rank) stands for the matrix ``U @ V.T``. The columns are
sorted by importance, so the first k columns of both are themselves a good rank-k pair: one pair
serves every rank up to its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError

RELATIVE_RIDGE = 1e-6
"""Added to the second moment's diagonal, in units of its mean, so that silent inputs invert."""


def second_moment(samples: ArrayLike) -> NDArray[np.float64]:
    """Uncentred second moment E[x xᵀ] of the inputs that a layer sees.

    Args:
        samples: inputs x, shape (samples, in), in the units that the weight multiplies.

    Returns:
        Symmetric positive semi-definite matrix, shape (in, in), in those units squared.

    Raises:
        ConfigError: ``ADL-LRK-01`` on NaN or infinity, ``ADL-LRK-02`` unless ``samples`` is a
            matrix with at least one row.
    """
    x = _finite_matrix(samples, where="second_moment.samples")
    if x.shape[0] == 0:
        raise ConfigError(
            "there are no samples to average over",
            where="second_moment.samples",
            remedy="pass at least one row",
            code="ADL-LRK-02",
        )
    moment: NDArray[np.float64] = x.T @ x / x.shape[0]
    return moment


def whitened_svd(
    weight: ArrayLike, second_moment: ArrayLike, rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rank-r factors that change a layer's output least on its own inputs.

    Minimises E‖(W - U Vᵀ) x‖². With E[x xᵀ] = L Lᵀ (Cholesky) that error is ‖(W - U Vᵀ) L‖²_F, so
    the answer is the truncated SVD of W L (Eckart and Young, 1936) taken back through L⁻¹. The
    same whitening is used by SVD-LLM (Wang et al., 2024).

    Args:
        weight: dense matrix W, shape (out, in).
        second_moment: E[x xᵀ] of the layer's inputs, shape (in, in).
        rank: number of columns r, 1 to min(out, in).

    Returns:
        ``(U, V)``, shapes (out, r) and (in, r). Singular values descend, the square root of each
        is folded into both factors, and at full rank ``U @ V.T`` is W.

    Raises:
        ConfigError: ``ADL-LRK-01`` on NaN or infinity, ``ADL-LRK-02`` when the shapes do not fit,
            ``ADL-LRK-03`` when the rank is out of range, ``ADL-LRK-04`` when ``second_moment`` is
            not a symmetric positive semi-definite matrix other than zero.
    """
    w = _finite_matrix(weight, where="whitened_svd.weight")
    moment = _finite_matrix(second_moment, where="whitened_svd.second_moment")
    if moment.shape != (w.shape[1], w.shape[1]):
        raise ConfigError(
            f"shape {moment.shape} does not fit a weight of shape {w.shape}",
            where="whitened_svd.second_moment",
            remedy=f"pass the ({w.shape[1]}, {w.shape[1]}) second moment of this layer's inputs",
            code="ADL-LRK-02",
        )
    _check_rank(rank, w.shape, where="whitened_svd.rank")
    root = _cholesky(moment)
    left, right = _leading(w @ root, rank)
    return left, np.asarray(np.linalg.solve(root.T, right), np.float64)


def plain_svd(weight: ArrayLike, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rank-r factors closest to the weights themselves, of inputs that nothing is known of.

    Args:
        weight: dense matrix W, shape (out, in).
        rank: number of columns r, 1 to min(out, in).

    Returns:
        As :func:`whitened_svd`.

    Raises:
        ConfigError: ``ADL-LRK-01`` on NaN or infinity, ``ADL-LRK-02`` unless ``weight`` is a
            matrix, ``ADL-LRK-03`` when the rank is out of range.
    """
    w = _finite_matrix(weight, where="plain_svd.weight")
    _check_rank(rank, w.shape, where="plain_svd.rank")
    return _leading(w, rank)


def _leading(
    matrix: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The leading singular vectors, the square root of each value folded into both."""
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    scale = np.sqrt(singular[:rank])
    return left[:, :rank] * scale, right[:rank].T * scale


def _check_rank(rank: int, shape: tuple[int, ...], *, where: str) -> None:
    if not 1 <= rank <= min(shape):
        raise ConfigError(
            f"rank {rank} is out of range for a weight of shape {shape}",
            where=where,
            remedy=f"choose a rank from 1 to {min(shape)}",
            code="ADL-LRK-03",
        )


def _finite_matrix(values: ArrayLike, *, where: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ConfigError(
            f"shape {matrix.shape} is not that of a matrix",
            where=where,
            remedy="pass a two-dimensional array with at least one column",
            code="ADL-LRK-02",
        )
    if not np.isfinite(matrix).all():
        raise ConfigError(
            f"{np.count_nonzero(~np.isfinite(matrix))} of {matrix.size} entries are NaN or "
            "infinite",
            where=where,
            remedy="find the step that diverged and pass finite values only",
            code="ADL-LRK-01",
        )
    return matrix


def _cholesky(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangular L with L Lᵀ = the second moment plus the ridge."""
    mean_power = float(np.trace(moment)) / moment.shape[0]
    symmetric = np.allclose(moment, moment.T, rtol=1e-9, atol=1e-9 * abs(mean_power))
    if mean_power > 0.0 and symmetric:
        ridge = RELATIVE_RIDGE * mean_power * np.eye(moment.shape[0])
        try:
            return np.linalg.cholesky(moment + ridge)
        except np.linalg.LinAlgError:
            pass
    raise ConfigError(
        "not a symmetric positive semi-definite matrix with a positive trace",
        where="whitened_svd.second_moment",
        remedy="compute it with mapping.lowrank.second_moment from inputs that are not all zero",
        code="ADL-LRK-04",
    )
