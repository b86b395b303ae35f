"""Where factors and what lies between them are kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError

if TYPE_CHECKING:
    from simulators.kernels.workspace import Workspace

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
UInt16Array = NDArray[np.uint16]
Samples = Float32Array | UInt16Array
"""Rows of float32, or of bfloat16 as its bits."""
CACHE_LINE = 64
BFLOAT16_MAX = 3.38e38
"""What is larger may be rounded to infinity."""


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


def rounded(array: Float32Array) -> UInt16Array:
    """The nearest bfloat16 of each number, of two the even one, as its bits; NaN stays NaN."""
    words = array.view(np.uint32)
    upper = words >> np.uint32(16)
    near = (words + (upper & np.uint32(1)) + np.uint32(0x7FFF)) >> np.uint32(16)
    return np.where(np.isnan(array), upper | np.uint32(0x40), near).astype(np.uint16)


def _pairs(matrix: Samples, lanes: int, *, steps: int = 1, twos: int = 1) -> NDArray[Any]:
    """Columns of an (a, b) matrix in groups, rows in pairs that lie side by side.

    Shape (groups, pairs, lanes, 2), filled up with zeros to a multiple of ``steps`` pairs and of
    ``twos`` groups.
    """
    rows, columns = matrix.shape
    pairs, groups = -(-rows // (2 * steps)) * steps, -(-columns // (twos * lanes)) * twos
    whole = np.zeros((2 * pairs, groups * lanes), matrix.dtype)
    whole[:rows, :columns] = matrix
    packed = aligned((groups, pairs, lanes, 2), matrix.dtype)
    packed[:] = whole.reshape(pairs, 2, groups, lanes).transpose(2, 0, 3, 1)
    return packed


class PackedFactors:
    """A factor pair in the layouts that the kernels read, each made when it is first needed.

    Both factors are copied: later changes to them are not seen.

    Args:
        U: output factor, shape (out, r_max), columns by importance.
        V: input factor, shape (in, r_max).
        bfloat16: let calls round factors, inputs and what lies between the factors to bfloat16
            (8 bits of precision, the range of float32, below 1.2e-38 zero) where that saves time;
            sums and outputs stay float32.

    Attributes:
        outputs, inputs, r_max: the sizes.
        bfloat16: as given.
        spare: workspaces of calls that brought none, which no call has now.

    Raises:
        ConfigError: ``ADL-KRN-01`` unless both are non-empty real matrices of as many columns.
    """

    def __init__(self, U: ArrayLike, V: ArrayLike, *, bfloat16: bool = False) -> None:
        self.bfloat16 = bfloat16
        self._U, self._V = _factor(U, "PackedFactors.U"), _factor(V, "PackedFactors.V")
        self.outputs, self.r_max = self._U.shape
        self.inputs = self._V.shape[0]
        self.spare: list[Workspace] = []
        self._split: dict[int, tuple[PackedFactors, PackedFactors]] = {}
        if self._V.shape[1] != self.r_max:
            raise ConfigError(
                f"U has {self.r_max} columns and V has {self._V.shape[1]}",
                where="PackedFactors",
                remedy="pass U of shape (out, r_max) and V of shape (in, r_max)",
                code="ADL-KRN-01",
            )

    def __reduce__(self) -> tuple[Callable[..., PackedFactors], tuple[Float32Array, Float32Array]]:
        """Copies and pickles hold the factors alone."""
        return partial(PackedFactors, bfloat16=self.bfloat16), (self._U, self._V)

    def split(self, rank: int) -> tuple[PackedFactors, PackedFactors]:
        """The pair of the first ranks, and that of the others; the same for every call.

        Args:
            rank: from 1 to r_max - 1.

        Raises:
            ConfigError: ``ADL-KRN-01`` when a pair would have no rank.
        """
        if not 0 < rank < self.r_max:
            raise ConfigError(
                f"{rank} of {self.r_max} ranks leave none for one of two pairs",
                where="PackedFactors.split",
                remedy="leave each pair one rank or more",
                code="ADL-KRN-01",
            )
        if rank not in self._split:
            low, high = (
                PackedFactors(self._U[:, part], self._V[:, part], bfloat16=self.bfloat16)
                for part in (slice(rank), slice(rank, None))
            )
            self._split[rank] = low, high
        return self._split[rank]

    @cached_property
    def input_is_finite(self) -> bool:
        """Whether V is free of NaN and infinity, so that inputs of zero may be passed over."""
        return bool(np.isfinite(self._V).all())

    @cached_property
    def may_round(self) -> bool:
        """Whether numbers may be rounded: if that is wanted, and a rank that a sample does not use
        adds nothing, as it would where U holds NaN or infinity.
        """
        return self.bfloat16 and bool((np.abs(self._U) < BFLOAT16_MAX).all())

    @cached_property
    def v_tiles(self) -> Float32Array:
        """V in groups of LANES ranks, shape (groups, pairs of inputs, LANES, 2)."""
        from simulators.kernels.vector import LANES

        return _pairs(self._V, LANES)

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

    @cached_property
    def v_pairs(self) -> UInt16Array:
        """V in bfloat16, shape (groups of LANES ranks, pairs of inputs, LANES, 2)."""
        from simulators.kernels.vector import LANES

        return _pairs(rounded(self._V), LANES, steps=LANES, twos=2)

    @cached_property
    def u_pairs(self) -> UInt16Array:
        """U in bfloat16, shape (groups of LANES outputs, pairs of ranks, LANES, 2)."""
        from simulators.kernels.vector import LANES

        return _pairs(rounded(np.ascontiguousarray(self._U.T)), LANES, steps=LANES, twos=2)
