"""Layers of a chain as arrays that the kernels read: low-rank with a gate, and a full matrix."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from mapping.errors import ConfigError
from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors, aligned


class GatedLayer:
    """A factor pair, a linear gate over levels of its rank, and a bias for each level; all copied.

    Level k has rank ``ranks[k]``. A sample goes from level k - 1 on to level k while
    ``weight[k - 1] · z + bias[k - 1] > price · cost[k - 1]``, where z is what lies between the
    factors at the lowest level. It is the gate of :class:`mapping.ir.network.RankGate`.

    Args:
        factors: the factor pair.
        ranks: of the K levels, strictly ascending, 1 to r_max.
        weight: shape (K - 1, ranks[0]).
        bias: shape (K - 1,).
        cost: shape (K - 1,).
        level_bias: what each level's outputs begin with beyond those of the level below, shape
            (K, out); 0 if None.
        rectified: make outputs below 0 to 0.

    Attributes:
        factors, rectified: as given.
        ranks: shape (K,), int64.
        weight, bias, cost, level_bias: as given, float32.
        starts: what the outputs of each level begin with, (K, out), rows rounded up to whole
            panels.
        address: of the addresses of ranks, weight, bias, cost and starts, int64.

    Raises:
        ConfigError: ``ADL-KRN-06`` when the arrays do not fit each other or the factors.
    """

    def __init__(
        self,
        factors: PackedFactors,
        ranks: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike,
        cost: ArrayLike,
        level_bias: ArrayLike | None = None,
        rectified: bool = False,
    ) -> None:
        from simulators.kernels.vector import PANEL

        self.factors, self.rectified = factors, rectified
        self.ranks: Int64Array = np.array(ranks, np.int64)
        if (
            self.ranks.ndim != 1
            or not self.ranks.size
            or not 1 <= self.ranks[0] <= self.ranks[-1] <= factors.r_max
            or not (np.diff(self.ranks) > 0).all()
        ):
            _refuse("ranks", ranks, f"pass ascending ranks from 1 to {factors.r_max}")
        levels = len(self.ranks)
        self.weight = _array("weight", weight, (levels - 1, int(self.ranks[0])))
        self.bias = _array("bias", bias, (levels - 1,))
        self.cost = _array("cost", cost, (levels - 1,))
        width = -(-factors.outputs // PANEL) * PANEL
        self.starts: Float32Array = aligned((levels, width))
        self.level_bias: Float32Array | None = None
        if level_bias is not None:
            self.level_bias = _array("level_bias", level_bias, (levels, factors.outputs))
            self.starts[:, : factors.outputs] = self.level_bias.cumsum(axis=0)
        arrays = (self.ranks, self.weight, self.bias, self.cost, self.starts)
        self._addresses = np.array([array.ctypes.data for array in arrays], np.int64)
        self.address: int = self._addresses.ctypes.data

    def __reduce__(self) -> tuple[type[GatedLayer], tuple[object, ...]]:
        """Copies and pickles are packed anew: addresses mean nothing elsewhere."""
        gate = self.ranks, self.weight, self.bias, self.cost
        return GatedLayer, (self.factors, *gate, self.level_bias, self.rectified)


class FullLayer:
    """A full matrix and a bias, copied: y = weight x + bias.

    Args:
        weight: shape (out, in).
        bias: shape (out,).
        bfloat16: let calls round numbers, see :class:`.PackedFactors`.

    Attributes:
        factors: the matrix as the output factor of a pair whose input factor is not used.
        start: the bias, rounded up to whole panels.

    Raises:
        ConfigError: ``ADL-KRN-01`` when ``weight`` is no matrix, ``ADL-KRN-06`` when ``bias`` does
            not fit it.
    """

    def __init__(self, weight: ArrayLike, bias: ArrayLike, *, bfloat16: bool = False) -> None:
        from simulators.kernels.vector import PANEL

        nothing = np.zeros((1, np.shape(weight)[-1]))
        self.factors = PackedFactors(weight, nothing, bfloat16=bfloat16)
        outputs = self.factors.outputs
        self.start: Float32Array = aligned((-(-outputs // PANEL) * PANEL,))
        self.start[:outputs] = _array("bias", bias, (outputs,), of="FullLayer")


def _array(
    name: str, given: ArrayLike, shape: tuple[int, ...], *, of: str = "GatedLayer"
) -> Float32Array:
    """An argument as float32 of that shape, a copy."""
    found: Float32Array = np.array(given, np.float32, order="C")
    if found.shape != shape:
        _refuse(name, given, f"pass shape {shape}", of=of)
    return found


def _refuse(name: str, given: ArrayLike, remedy: str, *, of: str = "GatedLayer") -> NoReturn:
    raise ConfigError(
        f"an array of shape {np.shape(given)} does not fit the other ones",
        where=f"{of}.{name}",
        remedy=remedy,
        code="ADL-KRN-06",
    )
