"""Factors of a weight matrix on its own inputs, at every rank, and the layer that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from adlrns_neuro.conversion.candidates import Candidate, conv_geometry
from adlrns_neuro.conversion.statistics import InputStatistics
from adlrns_neuro.layers import DynamicLowRankConv2d, DynamicLowRankLayer, LowRankLayer
from adlrns_neuro.perf import PerfEstimator
from mapping.lowrank import plain_svd, whitened_svd

Method = Literal["whitened", "plain"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Factorisation:
    """A weight matrix W ≈ U Vᵀ; the first r columns of both are the pair of rank r.

    Attributes:
        candidate: whose matrix it is.
        statistics: of its inputs.
        weight: W, shape (out, fan_in), float64 as all below.
        U, V: shapes (out, r) and (fan_in, r), r the highest rank in question.
        spread: what errors are weighed by: the inputs' covariance with ``match_means``, else their
            second moment.
        power: E‖W x‖².
        match_means: whether a pair comes with the bias (W - U Vᵀ) E[x], so that outputs keep their
            mean. Whitening then needs to care for what varies only: the pair is that of the
            covariance, and the two together are the best of all pairs with a bias.
    """

    candidate: Candidate
    statistics: InputStatistics
    weight: Tensor
    U: Tensor
    V: Tensor
    spread: Tensor
    power: float
    match_means: bool

    @classmethod
    def of(
        cls,
        candidate: Candidate,
        statistics: InputStatistics,
        rank: int,
        method: Method,
        means: bool,
    ) -> Factorisation:
        """Factors up to ``rank``."""
        weight = candidate.modules[0].weight.detach().flatten(1).double().cpu()
        moment = statistics.second_moment.cpu()
        spread = statistics.covariance.cpu() if means else moment
        if method == "plain":
            factors = plain_svd(weight.numpy(), rank)
        else:
            factors = whitened_svd(weight.numpy(), spread.numpy(), rank)
        U, V = map(torch.from_numpy, factors)
        return cls(
            candidate=candidate,
            statistics=statistics,
            weight=weight,
            U=U,
            V=V,
            spread=spread,
            power=float(((weight @ moment) * weight).sum()),
            match_means=means,
        )

    def matrix(self, rank: int) -> Tensor:
        """U Vᵀ at this rank."""
        return self.U[:, :rank] @ self.V[:, :rank].T

    def shift(self, rank: int) -> Tensor:
        """What the bias makes up for at this rank, shape (out,)."""
        if not self.match_means:
            return torch.zeros(len(self.weight), dtype=torch.float64)
        return (self.weight - self.matrix(rank)) @ self.statistics.mean.cpu()

    def relative_error(self, rank: int) -> float:
        """Root of E‖error of the outputs‖² / E‖outputs without their bias‖² on calibration data."""
        lost = self.weight - self.matrix(rank)
        error = float(((lost @ self.spread) * lost).sum())
        return float(np.sqrt(max(error, 0.0) / self.power)) if self.power > 0.0 else 0.0

    def layers(
        self, levels: Sequence[int], *, scorer_hidden: int, perf_estimator: PerfEstimator | None
    ) -> dict[nn.Module, LowRankLayer]:
        """A low-rank layer for each layer that shares the matrix; they share factors and gate."""
        made: dict[nn.Module, LowRankLayer] = {}
        first: LowRankLayer | None = None
        for module in self.candidate.modules:
            has_bias = self.match_means or module.bias is not None
            layer = self._empty(module, levels, has_bias, scorer_hidden, perf_estimator)
            layer = layer.to(module.weight).train(module.training)
            if first is None:
                layer.load_factors(self.U[:, : levels[-1]], self.V[:, : levels[-1]])
                first = layer
            else:
                layer.U, layer.V, layer.gate = first.U, first.V, first.gate
            if layer.level_bias is not None:
                shifts = torch.stack([self.shift(rank) for rank in levels])
                steps = torch.cat([shifts[:1], shifts.diff(dim=0)])
                with torch.no_grad():
                    layer.level_bias.copy_(steps)
                    if module.bias is not None:
                        layer.level_bias[0] += module.bias
            made[module] = layer
        return made

    def _empty(
        self,
        module: nn.Linear | nn.Conv2d,
        levels: Sequence[int],
        level_bias: bool,
        scorer_hidden: int,
        perf_estimator: PerfEstimator | None,
    ) -> LowRankLayer:
        if isinstance(module, nn.Linear):
            return DynamicLowRankLayer(
                module.in_features,
                module.out_features,
                levels=levels,
                level_bias=level_bias,
                scorer_hidden=scorer_hidden,
                perf_estimator=perf_estimator,
            )
        assert self.statistics.image_size is not None, "a convolution that was called saw images"
        height, width = module.kernel_size
        return DynamicLowRankConv2d(
            module.in_channels,
            module.out_channels,
            (height, width),
            image_size=self.statistics.image_size,
            levels=levels,
            level_bias=level_bias,
            scorer_hidden=scorer_hidden,
            perf_estimator=perf_estimator,
            **conv_geometry(module),
        )
