"""Linear layers whose rank is chosen at every call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.lowrank import low_rank_linear
from mapping.errors import ConfigError
from mapping.lowrank import whitened_svd


class DynamicLowRankLayer(nn.Module):
    """Bias-free linear layer y = (x V[:, :r]) U[:, :r]ᵀ with one factor pair for every rank r.

    Args:
        in_features: width of x.
        out_features: width of y.
        levels: the ranks that the layer can run at, strictly ascending, the largest (r_max) at
            most min(in_features, out_features).

    Attributes:
        U: output factor, shape (out_features, r_max), a parameter.
        V: input factor, shape (in_features, r_max), a parameter.
        levels: the ranks, ascending.

    Raises:
        ConfigError: ``ADL-LAY-01`` when the levels are not strictly ascending ranks that fit.
    """

    def __init__(self, in_features: int, out_features: int, *, levels: Sequence[int]) -> None:
        super().__init__()
        full_rank = min(in_features, out_features)
        ascending = all(low < high for low, high in pairwise(levels))
        if not levels or not ascending or levels[0] < 1 or levels[-1] > full_rank:
            raise ConfigError(
                f"levels {tuple(levels)} are not strictly ascending ranks from 1 to {full_rank}",
                where="DynamicLowRankLayer.levels",
                remedy=f"list each rank once, smallest first, none above {full_rank}",
                code="ADL-LAY-01",
            )
        self.levels = tuple(levels)
        # Entries of U Vᵀ then have the variance 1 / (3 in) of torch.nn.Linear's initial weights.
        deviation = (3 * in_features * levels[-1]) ** -0.25
        self.U = nn.Parameter(torch.randn(out_features, levels[-1]) * deviation)
        self.V = nn.Parameter(torch.randn(in_features, levels[-1]) * deviation)

    @classmethod
    def from_dense(cls, weight: Tensor, second_moment: Tensor, levels: Sequence[int]) -> Self:
        """Start from a trained dense layer by activation-whitened SVD at r_max.

        Args:
            weight: dense matrix, shape (out, in).
            second_moment: E[x xᵀ] of that layer's inputs, shape (in, in).
            levels: as in the constructor.

        Raises:
            ConfigError: ``ADL-LAY-01``, or ``ADL-LRK-01`` to ``ADL-LRK-04`` from
                :func:`mapping.lowrank.whitened_svd`.
        """
        out_features, in_features = weight.shape
        layer = cls(in_features, out_features, levels=levels).to(weight)
        factors = whitened_svd(
            weight.detach().cpu().numpy(), second_moment.detach().cpu().numpy(), layer.levels[-1]
        )
        with torch.no_grad():
            for parameter, factor in zip((layer.U, layer.V), factors, strict=True):
                parameter.copy_(torch.from_numpy(factor))
        return layer

    def forward(self, x: Tensor, *, rank: int) -> Tensor:
        """Outputs at one level.

        Args:
            x: inputs, shape (..., in_features).
            rank: one of ``levels``.

        Returns:
            Outputs, shape (..., out_features).

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        if rank not in self.levels:
            raise ConfigError(
                f"rank {rank} is not a level of this layer",
                where="DynamicLowRankLayer.rank",
                remedy=f"choose one of {self.levels}",
                code="ADL-LAY-02",
            )
        return low_rank_linear(x, self.U, self.V, rank)

    def forward_levels(self, x: Tensor) -> Tensor:
        """Outputs at every level, from one z = x V that is computed once and sliced.

        Args:
            x: inputs, shape (..., in_features).

        Returns:
            Outputs, shape (levels, ..., out_features), in the order of ``levels``.
        """
        z = x @ self.V
        return torch.stack([z[..., :rank] @ self.U[:, :rank].T for rank in self.levels])
