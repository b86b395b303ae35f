"""Linear layers whose rank is chosen at every call, for every sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.cost import (
    FLOPS_SHARE,
    MEMORY_SHARE,
    expected_rank,
    relative_cost,
)
from adlrns_neuro.functional.lowrank import grouped_low_rank, weighted_low_rank
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.levels import checked_levels
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.schedulers import RankScheduler
from adlrns_neuro.schedulers.policies import EnergyAware, RankLimit
from adlrns_neuro.warnings import BudgetWarning
from mapping.errors import ConfigError
from mapping.lowrank import whitened_svd


class DynamicLowRankLayer(nn.Module):
    """Linear layer y = (x V[:, :r]) U[:, :r]ᵀ + b_r with one factor pair for every rank r.

    Called as ``layer(x)`` it chooses a rank per sample; :meth:`at_rank` and :meth:`forward_levels`
    run given ranks.

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
        level_bias: parameter of shape (K, out_features), or None. Row 0 is the bias of the lowest
            level; each further row comes on top when its level is reached, so that rows 1 onwards
            are those of :class:`mapping.ir.network.LowRank`.
        level_gain: parameter of shape (K, r_max), or None. Row k holds what level k multiplies
            z = x V with; entries beyond its rank do not count.
        levels: the K ranks, ascending.
        gate: :class:`~adlrns_neuro.gates.network.GateNetwork` that reads the first rank block.
            Its cost of a level is the step of :func:`~adlrns_neuro.functional.cost.relative_cost`.
        energies_mj: modelled energy of one sample on its own by rank [mJ], the gate's excluded.

    Raises:
        ConfigError: ``ADL-LAY-01`` when the levels are not strictly ascending ranks that fit,
            ``ADL-GAT-01`` on a negative ``scorer_hidden``.
    """

    level_bias: nn.Parameter | None
    level_gain: nn.Parameter | None
    _ranks: Tensor

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
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.levels = checked_levels(levels, r_min, r_max, min(in_features, out_features))
        # Entries of U Vᵀ then have the variance 1 / (3 in) of torch.nn.Linear's initial weights.
        deviation = (3 * in_features * self.levels[-1]) ** -0.25
        self.U = nn.Parameter(torch.randn(out_features, self.levels[-1]) * deviation)
        self.V = nn.Parameter(torch.randn(in_features, self.levels[-1]) * deviation)
        self.register_parameter(
            "level_bias",
            nn.Parameter(torch.zeros(len(self.levels), out_features)) if level_bias else None,
        )
        self.register_parameter(
            "level_gain",
            nn.Parameter(torch.ones(len(self.levels), self.levels[-1])) if level_gain else None,
        )
        self.register_buffer("_ranks", torch.tensor(self.levels), persistent=False)
        costs = relative_cost(self._ranks.double(), in_features, out_features)
        self.gate = GateNetwork(self.levels[0], costs.diff().tolist(), scorer_hidden=scorer_hidden)
        estimator = perf_estimator or PerfEstimator()
        self.energies_mj = estimator.energies_mj(in_features, out_features, self.levels)
        self._warned = False

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

    def forward(
        self,
        x: Tensor,
        *,
        budget: float | None = None,
        scheduler: RankScheduler | None = None,
        price: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Outputs at a rank per sample: the largest that the limits allow and the gate wants.

        The budget, or the scheduler, limits the rank of the whole call; the gate lowers it sample
        by sample. A budget's limit is that of one sample on its own, so that a sample's rank does
        not depend on its company. In evaluation mode samples are grouped by level, so that each
        costs what its own rank costs. In training mode the outputs are the same, but all blocks
        below the limit are computed, and gradients reach the gate through its soft decision
        (straight-through; Bengio et al., 2013).

        Args:
            x: inputs, shape (..., in_features).
            budget: energy per sample [mJ]; no limit if None.
            scheduler: limits the rank in its own way, and learns what the call spent.
            price: of the gate's cost, where the scheduler sets none; the gate's own if None.

        Returns:
            Outputs, shape (..., out_features), and the rank of each sample, shape (...), int64.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another width, ``ADL-LAY-04`` on a budget that
                is not above 0, ``ADL-SCH-02`` when the scheduler needs one.

        Warns:
            BudgetWarning: once per layer, when even the lowest level exceeds the budget.
        """
        limit = self._limit(budget, scheduler)
        top = sum(rank <= limit.rank for rank in self.levels[1:])
        rows = self._checked(x).reshape(-1, self.in_features)
        run = self._differentiable if self.training else self._grouped
        outputs, chosen = run(rows, top, price if limit.price is None else limit.price)
        if scheduler is not None and len(rows):
            shares = torch.bincount(chosen, minlength=len(self.levels)) / len(rows)
            spent = zip(shares.tolist(), self.energies_mj.values(), strict=True)
            scheduler.observe(sum(share * energy for share, energy in spent), budget)
        leading = x.shape[:-1]
        return outputs.reshape(*leading, self.out_features), self._ranks[chosen].reshape(leading)

    def at_rank(self, x: Tensor, rank: int) -> Tensor:
        """Outputs at one level for all samples.

        Args:
            x: inputs, shape (..., in_features).
            rank: one of ``levels``.

        Returns:
            Outputs, shape (..., out_features).

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level, ``ADL-LAY-03`` when x has
                another width.
        """
        self._level(rank)
        return self.decode(self._checked(x) @ self.V[:, :rank], rank)

    def at_levels(self, x: Tensor, chosen: Tensor, first: Tensor | None = None) -> Tensor:
        """Outputs at a given level for each sample, at the cost of that level.

        Args:
            x: inputs, shape (..., in_features).
            chosen: index of the level of each sample, 0 to K - 1, int64, of the shape of x less
                its last axis, or of the first of its axes.
            first: :meth:`features` of x where they are known, so that they are not computed again.

        Returns:
            Outputs, shape (..., out_features).

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another width.
        """
        rows = self._checked(x).reshape(-1, self.in_features)
        every = chosen.reshape(*chosen.shape, *[1] * (x.ndim - 1 - chosen.ndim))
        flat = every.expand(x.shape[:-1]).reshape(-1)
        start = self.features(rows) if first is None else first.reshape(len(rows), -1)
        outputs = self._at_levels(rows, start, flat)
        return outputs.reshape(*x.shape[:-1], self.out_features)

    def forward_levels(self, x: Tensor) -> Tensor:
        """Outputs at every level, from one z = x V that is computed once and sliced.

        Args:
            x: inputs, shape (..., in_features).

        Returns:
            Outputs, shape (levels, ..., out_features), in the order of ``levels``.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another width.
        """
        return self.decode_levels(self._checked(x) @ self.V)

    def decode(self, z: Tensor, rank: int) -> Tensor:
        """Outputs at one level from what lies between the factors.

        Args:
            z: x V or what was made of it, shape (..., rank or more).
            rank: one of ``levels``.

        Returns:
            Outputs, shape (..., out_features).

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        level = self._level(rank)
        block = z[..., :rank]
        if self.level_gain is not None:
            block = block * self.level_gain[level, :rank].to(block)
        outputs = block @ self.U[:, :rank].T
        if self.level_bias is None:
            return outputs
        return outputs + self.level_bias[: level + 1].sum(dim=0).to(outputs)

    def decode_levels(self, z: Tensor) -> Tensor:
        """Outputs at every level from what lies between the factors.

        Args:
            z: x V or what was made of it, shape (..., r_max).

        Returns:
            Outputs, shape (levels, ..., out_features), in the order of ``levels``.
        """
        return torch.stack([self.decode(z, rank) for rank in self.levels])

    def features(self, x: Tensor) -> Tensor:
        """What the gate reads: the first rank block, shape (..., levels[0]).

        Args:
            x: inputs, shape (..., in_features).

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another width.
        """
        return self._checked(x) @ self.V[:, : self.levels[0]]

    def expected_cost(
        self, x: Tensor, *, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        """E of every sample under the gate's soft decision: train on ``loss + λ E.mean()``.

        Args:
            x: inputs, shape (..., in_features).
            alpha, beta: weights of operations and of memory in E.

        Returns:
            Shape (...), see :func:`~adlrns_neuro.functional.cost.relative_cost`; differentiable.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another width.
        """
        rank = expected_rank(self.gate.reach(self.features(x)), self.levels)
        return relative_cost(rank, self.in_features, self.out_features, alpha=alpha, beta=beta)

    def extra_repr(self) -> str:
        """What ``print`` shows besides the gate."""
        return f"{self.in_features}, {self.out_features}, levels={self.levels}"

    def _limit(self, budget: float | None, scheduler: RankScheduler | None) -> RankLimit:
        if budget is not None and not budget > 0.0:
            raise ConfigError(
                f"a budget of {budget} mJ per sample lets nothing run",
                where="DynamicLowRankLayer.budget",
                remedy=f"give one of {self.energies_mj[self.levels[0]]:.3g} mJ or more",
                code="ADL-LAY-04",
            )
        lowest, highest = self.levels[0], self.levels[-1]
        if budget is not None and budget < self.energies_mj[lowest] and not self._warned:
            self._warned = True
            warnings.warn(
                f"a budget of {budget:.3g} mJ per sample is below the "
                f"{self.energies_mj[lowest]:.3g} mJ of rank {lowest}, which runs nevertheless",
                BudgetWarning,
                stacklevel=5,
            )
        if scheduler is not None:
            return scheduler.limit(self.energies_mj, budget)
        if budget is None:
            return RankLimit(rank=highest)
        return EnergyAware(r_min=lowest, r_max=highest).limit(self.energies_mj, budget)

    def _grouped(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """Outputs and levels of (n, in) inputs, none above level ``top``, each at its own cost."""
        first = self.features(x)
        chosen = self.gate.decide(first, price).clamp(max=top)
        return self._at_levels(x, first, chosen), chosen

    def _at_levels(self, x: Tensor, first: Tensor, chosen: Tensor) -> Tensor:
        """Outputs of (n, in) inputs at the levels ``chosen``, each at its own cost."""
        outputs = grouped_low_rank(x, first, self.U, self.V, self.levels, chosen, self.level_gain)
        if self.level_bias is not None:
            outputs = outputs + self.level_bias.cumsum(dim=0)[chosen].to(outputs)
        return outputs

    def _differentiable(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """The same outputs and levels, with gradients to the gate."""
        levels = self.levels[: top + 1]
        z = x @ self.V[:, : levels[-1]]
        first = z[:, : levels[0]]
        chosen = self.gate.decide(first, price).clamp(max=top)
        soft = self.gate.reach(first, price)[:, :top]
        reach = (torch.arange(top, device=x.device) < chosen[:, None]) + (soft - soft.detach())
        gain = None if self.level_gain is None else self.level_gain[: top + 1, : levels[-1]]
        outputs = weighted_low_rank(z, self.U[:, : levels[-1]], levels, reach, gain)
        if self.level_bias is not None:
            bias = self.level_bias[0] + reach @ self.level_bias[1 : top + 1]
            outputs = outputs + bias.to(outputs)
        return outputs, chosen

    def _level(self, rank: int) -> int:
        if rank not in self.levels:
            raise ConfigError(
                f"rank {rank} is not a level of this layer",
                where="DynamicLowRankLayer.rank",
                remedy=f"choose one of {self.levels}",
                code="ADL-LAY-02",
            )
        return self.levels.index(rank)

    def _checked(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ConfigError(
                f"x has shape {tuple(x.shape)}",
                where="DynamicLowRankLayer.x",
                remedy=f"pass (..., in_features) = (..., {self.in_features})",
                code="ADL-LAY-03",
            )
        return x
