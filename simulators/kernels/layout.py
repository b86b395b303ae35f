"""Where factors and what lies between them are kept in memory."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError

if TYPE_CHECKING:
    from simulators.kernels.workspace import Workspace

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
CACHE_LINE = 64


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array of zeros whose first element begins a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    found: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return found


def _factor(array: ArrayLike, where: str) -> Float32Array:
    """A factor as a float32 matrix of its own.

    Raises:
        ConfigError: ``ADL-KRN-01`` unless it is a non-empty matrix of real numbers.
    """
    found = np.asarray(array)
    if found.ndim != 2 or not found.size or found.dtype.kind not in "fiub":
        raise ConfigError(
            f"an array of shape {found.shape} and type {found.dtype} is no factor",
            where=where,
            remedy="pass U of shape (out, r_max) and V of shape (in, r_max), real numbers",
            code="ADL-KRN-01",
        )
    return found.astype(np.float32)


def _panels(matrix: Float32Array, width: int) -> Float32Array:
    """Columns of an (a, b) matrix in groups: (⌈b / width⌉, a, width), filled up with zeros."""
    rows, columns = matrix.shape
    packed = aligned((-(-columns // width), rows, width))
    for number, group in enumerate(packed):
        part = matrix[:, number * width : (number + 1) * width]
        group[:, : part.shape[1]] = part
    return packed


def _groups(matrix: Float32Array, group: int, lanes: int) -> Float32Array:
    """Rows of an (a, b) matrix in groups, a vector of each row before the next of any.

    Shape (⌈a / group⌉, ⌈b / lanes⌉, group, lanes), filled up with zeros.
    """
    rows, columns = matrix.shape
    groups, vectors = -(-rows // group), -(-columns // lanes)
    packed = aligned((groups, vectors, group, lanes))
    whole = np.zeros((groups * group, vectors * lanes), np.float32)
    whole[:rows, :columns] = matrix
    packed[:] = whole.reshape(groups, group, vectors, lanes).swapaxes(1, 2)
    return packed


def _strips(matrix: Float32Array, strip: int, lanes: int) -> Float32Array:
    """Columns of an (a, b) matrix in strips of ``strip`` vectors, then of half as many and so on.

    The last strip is one vector, filled up with zeros, if b is no multiple of ``lanes``. Strips
    are (a, width) and follow each other, so one that starts at column c starts at number a · c.
    """
    rows, columns = matrix.shape
    packed = aligned((-(-columns // lanes) * lanes * rows,))
    first = 0
    while first < columns:
        left = max(1, (columns - first) // lanes)
        width = lanes * min(strip, 1 << (left.bit_length() - 1))
        part = matrix[:, first : first + width]
        into = packed[rows * first : rows * (first + width)].reshape(rows, width)
        into[:, : part.shape[1]] = part
        first += width
    return packed


class PackedFactors:
    """A factor pair in the layouts that the kernels read, each made when it is first needed.

    Both factors are copied: later changes to them are not seen.

    Args:
        U: output factor, shape (out, r_max), columns by importance.
        V: input factor, shape (in, r_max).

    Attributes:
        outputs, inputs, r_max: the sizes.
        spare: workspaces of calls that brought none, for the next ones.

    Raises:
        ConfigError: ``ADL-KRN-01`` unless both are non-empty real matrices of as many columns.
    """

    def __init__(self, U: ArrayLike, V: ArrayLike) -> None:
        self._U, self._V = _factor(U, "PackedFactors.U"), _factor(V, "PackedFactors.V")
        self.outputs, self.r_max = self._U.shape
        self.inputs = self._V.shape[0]
        self.spare: list[Workspace] = []
        if self._V.shape[1] != self.r_max:
            raise ConfigError(
                f"U has {self.r_max} columns and V has {self._V.shape[1]}",
                where="PackedFactors",
                remedy="pass U of shape (out, r_max) and V of shape (in, r_max)",
                code="ADL-KRN-01",
            )

    def __reduce__(self) -> tuple[type[PackedFactors], tuple[Float32Array, Float32Array]]:
        """Copies and pickles hold the factors alone."""
        return PackedFactors, (self._U, self._V)

    @cached_property
    def input_is_finite(self) -> bool:
        """Whether V is free of NaN and infinity, so that inputs of zero may be passed over."""
        return bool(np.isfinite(self._V).all())

    @cached_property
    def v_panels(self) -> Float32Array:
        """V in groups of ``PANEL`` ranks, shape (groups, in, PANEL)."""
        from simulators.kernels.vector import PANEL

        return _panels(self._V, PANEL)

    @cached_property
    def u_panels(self) -> Float32Array:
        """U in groups of ``PANEL`` outputs, shape (groups, r_max, PANEL)."""
        from simulators.kernels.vector import PANEL

        return _panels(self._U.T, PANEL)

    @cached_property
    def v_groups(self) -> Float32Array:
        """V in groups of ``GROUP`` ranks, shape (groups, vectors of in, GROUP, LANES)."""
        from simulators.kernels.vector import GROUP, LANES

        return _groups(self._V.T, GROUP, LANES)

    @cached_property
    def u_strips(self) -> Float32Array:
        """U in strips of outputs, all ranks of a strip before the next: (r_max · out,), padded."""
        from simulators.kernels.vector import LANES, STRIP

        return _strips(self._U.T, STRIP, LANES)
