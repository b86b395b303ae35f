"""Layers of a chain as arrays that the kernels read: low-rank with a gate, and a full matrix."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from mapping.errors import ConfigError
from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors, aligned


class LeveledLayer:
    """A factor pair, levels of its rank, and a bias for each level; all copied.

    Args:
        factors: the factor pair.
        ranks: of the K levels, strictly ascending, 0 to r_max.
        level_bias: what each level's outputs begin with beyond those of the level below, shape
            (K, out); 0 if None.
        rectified: make outputs below 0 to 0.

    Attributes:
        factors, rectified: as given.
        ranks: shape (K,), int64.
        level_bias: as given, float32.
        starts: what the outputs of each level begin with, (K, out), rows rounded up to whole
            panels.
        address: of the addresses of ranks, starts, and a gate's weight, bias and cost, int64; and
            whether the outputs of all levels begin with the same.

    Raises:
        ConfigError: ``ADL-KRN-06`` when the arrays do not fit each other or the factors.
    """

    LEAST_RANK = 0

    def __init__(
        self,
        factors: PackedFactors,
        ranks: ArrayLike,
        level_bias: ArrayLike | None = None,
        rectified: bool = False,
    ) -> None:
        from simulators.kernels.vector import PANEL

        self.factors, self.rectified = factors, rectified
        self.ranks: Int64Array = np.array(ranks, np.int64)
        if (
            self.ranks.ndim != 1
            or not self.ranks.size
            or not self.LEAST_RANK <= self.ranks[0] <= self.ranks[-1] <= factors.r_max
            or not (np.diff(self.ranks) > 0).all()
        ):
            remedy = f"pass ascending ranks from {self.LEAST_RANK} to {factors.r_max}"
            refuse_array("ranks", ranks, remedy, of=type(self).__name__)
        levels = len(self.ranks)
        width = -(-factors.outputs // PANEL) * PANEL
        self.starts: Float32Array = aligned((levels, width))
        self.level_bias: Float32Array | None = None
        if level_bias is not None:
            shape, of = (levels, factors.outputs), type(self).__name__
            self.level_bias = small_array("level_bias", level_bias, shape, of=of)
            self.starts[:, : factors.outputs] = self.level_bias.cumsum(axis=0)
        common = bool((self.starts[1:] == self.starts[0]).all())
        self._addresses: Int64Array = np.zeros(6, np.int64)
        self._addresses[:2] = self.ranks.ctypes.data, self.starts.ctypes.data
        self._addresses[5] = common
        self.address: int = self._addresses.ctypes.data

    def __reduce__(self) -> tuple[type[LeveledLayer], tuple[object, ...]]:
        """Copies and pickles are packed anew: addresses mean nothing elsewhere."""
        return LeveledLayer, (self.factors, self.ranks, self.level_bias, self.rectified)


class GatedLayer(LeveledLayer):
    """Such a layer with a linear gate over its levels.

    Level k has rank ``ranks[k]``. A sample goes from level k - 1 on to level k while
    ``weight[k - 1] · z + bias[k - 1] > price · cost[k - 1]``, where z is what lies between the
    factors at the lowest level. It is the gate of :class:`mapping.ir.network.RankGate`.

    Args:
        factors, level_bias, rectified: as of :class:`LeveledLayer`.
        ranks: the same, from 1 on.
        weight: shape (K - 1, ranks[0]).
        bias: shape (K - 1,).
        cost: shape (K - 1,).

    Attributes:
        weight, bias, cost: as given, float32.

    Raises:
        ConfigError: ``ADL-KRN-06`` when the arrays do not fit each other or the factors.
    """

    LEAST_RANK = 1

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
        super().__init__(factors, ranks, level_bias, rectified)
        levels = len(self.ranks)
        self.weight = small_array("weight", weight, (levels - 1, int(self.ranks[0])))
        self.bias = small_array("bias", bias, (levels - 1,))
        self.cost = small_array("cost", cost, (levels - 1,))
        self._addresses[2:5] = [part.ctypes.data for part in (self.weight, self.bias, self.cost)]

    def __reduce__(self) -> tuple[type[GatedLayer], tuple[object, ...]]:
        """As of any :class:`LeveledLayer`."""
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
        self.start[:outputs] = small_array("bias", bias, (outputs,), of="FullLayer")


def small_array(
    name: str, given: ArrayLike, shape: tuple[int, ...], *, of: str = "GatedLayer"
) -> Float32Array:
    """An argument as float32 of that shape, a copy.

    Raises:
        ConfigError: ``ADL-KRN-06``.
    """
    found: Float32Array = np.array(given, np.float32, order="C")
    if found.shape != shape:
        refuse_array(name, given, f"pass shape {shape}", of=of)
    return found


def refuse_array(name: str, given: ArrayLike, remedy: str, *, of: str = "GatedLayer") -> NoReturn:
    """Refuse an array that does not fit the others of a layer.

    Raises:
        ConfigError: ``ADL-KRN-06``.
    """
    raise ConfigError(
        f"an array of shape {np.shape(given)} does not fit the other ones",
        where=f"{of}.{name}",
        remedy=remedy,
        code="ADL-KRN-06",
    )
