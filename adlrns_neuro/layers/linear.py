"""Linear layers whose rank is chosen at every call, for every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from adlrns_neuro.functional.gated_op import GatedParts, gated_low_rank
from adlrns_neuro.functional.leveled_op import LeveledParts
from adlrns_neuro.functional.low_rank_op import low_rank, runs_on_kernels
from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.layers.first_block import FirstBlock
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError
from mapping.lowrank import whitened_svd

NARROW = 16
"""Of fewer columns torch's product is up to three times slower than the transposed one (2.13, CPU).
"""


class DynamicLowRankLayer(LowRankLayer):
    """Linear layer y = (x V[:, :r]) U[:, :r]ᵀ + b_r with one factor pair for every rank r.

    Called as ``layer(x)`` it chooses a rank per sample, that is per row of x, shape
    (..., in_features); :meth:`at_rank` and :meth:`forward_levels` run given ranks. In evaluation
    mode, where no gradient is needed, float32 samples at ranks of their own go through the kernels
    of :mod:`simulators.kernels` on a CPU, and on a GPU if the extra ``cuda`` is installed; other
    types, autocast and level gains through torch's own products, grouped by level.

    Args:
        in_features: width of x.
        out_features: width of y.
        levels: the ranks that the layer can run at, strictly ascending, the largest (r_max) at
            most min(in_features, out_features).
        r_max, r_min: instead of ``levels``: r_min, 2 r_min, 4 r_min, … and r_max.
        level_bias: add a bias that depends on the level.
        level_gain: weigh the values between the factors by level; a chip cannot, so leave it out of
            what is to be compiled.
        scorer_hidden: size of the gate's rectified population; 0 is a linear gate.
        perf_estimator: models what a level costs; on the V100 if None.

    Attributes:
        U: output factor, shape (out_features, r_max), a parameter.
        V: input factor, shape (in_features, r_max), a parameter.
        in_features, out_features: as given.
        level_bias, level_gain, levels, gate, energies_mj: see
            :class:`~adlrns_neuro.layers.base.LowRankLayer`.

    Raises:
        ConfigError: ``ADL-LAY-01`` when the levels are not strictly ascending ranks that fit,
            ``ADL-GAT-01`` on a negative ``scorer_hidden``.
    """

    SAMPLE_AXES: ClassVar[int] = 1

    _no_bias: Tensor
    _ranks_beyond: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        levels: Sequence[int] | None = None,
        r_max: int | None = None,
        r_min: int | None = None,
        level_bias: bool = False,
        level_gain: bool = False,
        scorer_hidden: int = 0,
        perf_estimator: PerfEstimator | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            levels=levels,
            r_max=r_max,
            r_min=r_min,
            level_bias=level_bias,
            level_gain=level_gain,
            scorer_hidden=scorer_hidden,
            perf_estimator=perf_estimator,
        )
        self.in_features = in_features
        self.out_features = out_features
        self.register_buffer("_no_bias", torch.empty(0), persistent=False)
        self.register_buffer("_ranks_beyond", self._ranks - self.levels[0], persistent=False)

    @classmethod
    def from_dense(
        cls,
        weight: Tensor,
        second_moment: Tensor,
        levels: Sequence[int],
        *,
        perf_estimator: PerfEstimator | None = None,
    ) -> Self:
        """Start from a trained dense layer by activation-whitened SVD at r_max.

        Args:
            weight: dense matrix, shape (out, in).
            second_moment: E[x xᵀ] of that layer's inputs, shape (in, in).
            levels, perf_estimator: as in the constructor.

        Raises:
            ConfigError: ``ADL-LAY-01``, or ``ADL-LRK-01`` to ``ADL-LRK-04`` from
                :func:`mapping.lowrank.whitened_svd`.
        """
        out_features, in_features = weight.shape
        layer = cls(in_features, out_features, levels=levels, perf_estimator=perf_estimator)
        layer.to(weight)
        U, V = whitened_svd(
            weight.detach().cpu().numpy(), second_moment.detach().cpu().numpy(), layer.levels[-1]
        )
        layer.load_factors(torch.from_numpy(U), torch.from_numpy(V))
        return layer

    def load_factors(self, U: Tensor, V: Tensor) -> None:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.load_factors`."""
        with torch.no_grad():
            self.U.copy_(U)
            self.V.copy_(V)

    def input_matrix(self) -> Tensor:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.input_matrix`."""
        return self.V

    def extra_repr(self) -> str:
        """What ``print`` shows besides the gate."""
        return f"{self.in_features}, {self.out_features}, levels={self.levels}"

    def _input_factor_shape(self, rank: int) -> tuple[int, ...]:
        return (self.fan_in, rank)

    def _encode(self, x: Tensor, low: int, high: int) -> Tensor:
        factor = self.V[:, low:high]
        narrow = high - low < NARROW and x.device.type == "cpu"
        if narrow and not self.training and runs_on_kernels(x, self.U, self.V):
            return (factor.T @ x.T).T
        return x @ factor

    def _project(self, z: Tensor, low: int = 0) -> Tensor:
        return z @ self.U[:, low : low + z.shape[-1]].T

    def gated_parts(self, price: float | None) -> GatedParts | None:
        """What one call of the kernels would run the layer on, gate included, at a price.

        None if there is no such call: in training mode, with a gain by level, or with a gate that
        is not linear.

        Args:
            price: of the gate's cost; its own if None.
        """
        # Attributes of modules take half a microsecond each, as long as a sample's products.
        own: Mapping[str, Any] = self._parameters
        buffers: Mapping[str, Any] = self._buffers
        modules: Mapping[str, Any] = self._modules
        U, V, gate = own.get("U"), own.get("V"), modules["gate"]
        if U is None or V is None or own["level_gain"] is not None:
            return None
        if self.training or gate.scorer_hidden:
            return None
        weights: Mapping[str, Any] = gate._parameters
        constants: Mapping[str, Any] = gate._buffers
        bias, asked = own["level_bias"], constants["price"]
        return GatedParts(
            U,
            V,
            buffers["_ranks"],
            weights["weight"],
            weights["bias"],
            constants["cost"],
            buffers["_no_bias"] if bias is None else bias,
            asked if price is None else asked.new_tensor(price),
        )

    def leveled_parts(self, *, beyond_first: bool = False) -> LeveledParts | None:
        """What one call of the kernels would run the layer on at given levels.

        None if there is no such call: in training mode, or with a gain by level.

        Args:
            beyond_first: leave out the first rank block, and the biases.
        """
        own: Mapping[str, Any] = self._parameters
        U, V = own.get("U"), own.get("V")
        if self.training or U is None or V is None or own["level_gain"] is not None:
            return None
        buffers: Mapping[str, Any] = self._buffers
        none = buffers["_no_bias"]
        if beyond_first:
            low = self.levels[0]
            return LeveledParts(U[:, low:], V[:, low:], buffers["_ranks_beyond"], none)
        bias = own["level_bias"]
        return LeveledParts(U, V, buffers["_ranks"], none if bias is None else bias)

    def _grouped(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """Outputs and ranks of (n, in), none above level ``top``, each at its own cost; in one
        call of the kernels if they can.
        """
        parts = self.gated_parts(price)
        if parts is None or x.device.type != "cpu" or not runs_on_kernels(x, parts.U, parts.V):
            return super()._grouped(x, top, price)
        outputs, ranks = gated_low_rank(x, [parts], [top + 1], rectified=False)
        return outputs, ranks[0]

    def _at_levels(self, x: Tensor, first: FirstBlock, chosen: Tensor) -> Tensor:
        """Outputs of (n, in) at the levels ``chosen``, each at its own cost, by the kernels if they
        can.
        """
        kernels = runs_on_kernels(x, self.U, self.V)
        if self.training or self.level_gain is not None or len(self.levels) == 1 or not kernels:
            return super()._at_levels(x, first, chosen)
        low = self.levels[0]
        beyond = self._ranks_beyond.index_select(0, chosen)
        outputs: Tensor = low_rank(x, self.U[:, low:], self.V[:, low:], beyond)
        outputs += self.begun(first, chosen)
        return outputs

    def begun(self, first: FirstBlock, chosen: Tensor) -> Tensor:
        """What outputs at given levels begin with: the first rank block's, and the biases.

        Args:
            first: of n samples.
            chosen: index of the level of each, shape (n,), int64.
        """
        start = first.output
        if start is None:
            start = first.between @ self.U[:, : self.levels[0]].T
        if self.level_bias is not None:
            start = start + self.level_bias.cumsum(dim=0).index_select(0, chosen)
        return start

    def _gate_features(self, first: Tensor) -> Tensor:
        return first

    def _checked(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ConfigError(
                f"x has shape {tuple(x.shape)}",
                where="DynamicLowRankLayer.x",
                remedy=f"pass (..., in_features) = (..., {self.in_features})",
                code="ADL-LAY-03",
            )
        return x
