"""What all layers share whose rank is chosen at every call, for every sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.cost import (
    FLOPS_SHARE,
    MEMORY_SHARE,
    expected_rank,
    relative_cost,
)
from adlrns_neuro.functional.kept import forget
from adlrns_neuro.functional.lowrank import block_weights, run_by_level
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.budgets import BudgetCheck
from adlrns_neuro.layers.first_block import FirstBlock
from adlrns_neuro.layers.levels import checked_levels
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.schedulers import RankScheduler
from adlrns_neuro.schedulers.policies import EnergyAware, RankLimit
from mapping.errors import ConfigError


class LowRankLayer(nn.Module, ABC):
    """A linear map W ≈ U Vᵀ with one factor pair for every rank r, and a gate that chooses r.

    A sample is what gets a rank: a row of a linear layer, an image of a convolution. Shapes below
    are written as (..., *sample*), where *sample* is (in,) or (channels, height, width). Every
    subclass says how it applies its factors.

    Args:
        fan_in: values that an output is computed from.
        out: outputs, or output channels.
        levels, r_min, r_max, level_bias, level_gain, scorer_hidden, perf_estimator: see
            :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`.
        positions: at which a sample uses the weights.
        activations: values in and out of a sample.

    Attributes:
        U: output factor, shape (out, r_max), a parameter.
        V: input factor, a parameter.
        level_bias: parameter of shape (K, out), or None. Row 0 is the bias of the lowest level;
            each further row comes on top when its level is reached, so that rows 1 onwards are
            those of :class:`mapping.ir.network.LowRank`.
        level_gain: parameter of shape (K, r_max), or None. Row k holds what level k multiplies
            what lies between the factors with; entries beyond its rank do not count.
        levels: the K ranks, ascending.
        gate: :class:`~adlrns_neuro.gates.network.GateNetwork` that reads the first rank block.
            Its cost of a level is the step of :func:`~adlrns_neuro.functional.cost.relative_cost`.
        energies_mj: modelled energy of one sample on its own by rank [mJ], the gate's excluded.
        times_trained: how often training has begun.
        fan_in, out, positions, activations: as given.
    """

    SAMPLE_AXES: ClassVar[int]
    """Axes of a sample, the first of them the features or channels."""

    level_bias: nn.Parameter | None
    level_gain: nn.Parameter | None
    _ranks: Tensor

    def __init__(
        self,
        fan_in: int,
        out: int,
        *,
        levels: Sequence[int] | None,
        r_max: int | None,
        r_min: int | None,
        level_bias: bool,
        level_gain: bool,
        scorer_hidden: int,
        perf_estimator: PerfEstimator | None,
        positions: int = 1,
        activations: int | None = None,
    ) -> None:
        super().__init__()
        self.fan_in = fan_in
        self.out = out
        self.positions = positions
        self.activations = (fan_in + out) * positions if activations is None else activations
        self.levels = checked_levels(
            levels, r_min, r_max, min(fan_in, out), where=f"{type(self).__name__}.levels"
        )
        # Entries of U Vᵀ then have the variance 1 / (3 fan_in) of torch's own initial weights.
        deviation = (3 * fan_in * self.levels[-1]) ** -0.25
        self.U = nn.Parameter(torch.randn(out, self.levels[-1]) * deviation)
        self.V = nn.Parameter(torch.randn(self._input_factor_shape(self.levels[-1])) * deviation)
        self.register_parameter(
            "level_bias",
            nn.Parameter(torch.zeros(len(self.levels), out)) if level_bias else None,
        )
        self.register_parameter(
            "level_gain",
            nn.Parameter(torch.ones(len(self.levels), self.levels[-1])) if level_gain else None,
        )
        self.register_buffer("_ranks", torch.tensor(self.levels), persistent=False)
        costs = self._relative_cost(self._ranks.double())
        self.gate = GateNetwork(self.levels[0], costs.diff().tolist(), scorer_hidden=scorer_hidden)
        self.energies_mj = (perf_estimator or PerfEstimator()).energies_mj(
            fan_in, out, self.levels, positions=positions, activations=self.activations
        )
        self.times_trained = 0
        self._check_budget = BudgetCheck(type(self).__name__, "sample")

    def train(self, mode: bool = True) -> Self:
        """As of any module; what the kernels keep of the layer is dropped if training begins.

        Fused optimisers change parameters without torch counting it.
        """
        if mode:
            self.times_trained += 1
            forget(self.parameters())
        return super().train(mode)

    @abstractmethod
    def _input_factor_shape(self, rank: int) -> tuple[int, ...]:
        """Shape of ``V``."""

    @abstractmethod
    def _encode(self, x: Tensor, low: int, high: int) -> Tensor:
        """Columns ``low`` to ``high`` of what lies between the factors, from (n, *sample*)."""

    @abstractmethod
    def _project(self, z: Tensor, low: int = 0) -> Tensor:
        """What the columns of ``U`` from ``low`` on make of z, shape (..., r, *positions*)."""

    @abstractmethod
    def _gate_features(self, first: Tensor) -> Tensor:
        """What the gate reads of the first rank block, shape (n, levels[0])."""

    @abstractmethod
    def load_factors(self, U: Tensor, V: Tensor) -> None:
        """Take over a factor pair, in place.

        Args:
            U: shape (out, r_max).
            V: as a matrix, shape (fan_in, r_max).
        """

    @abstractmethod
    def input_matrix(self) -> Tensor:
        """``V`` as a matrix, shape (fan_in, r_max)."""

    @abstractmethod
    def _checked(self, x: Tensor) -> Tensor:
        """``x``, unless it is not (..., *sample*)."""

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
            x: inputs, shape (..., *sample*).
            budget: energy per sample [mJ]; no limit if None.
            scheduler: limits the rank in its own way, and learns what the call spent.
            price: of the gate's cost, where the scheduler sets none; the gate's own if None.

        Returns:
            Outputs, and the rank of each sample, shape (...), int64.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape, ``ADL-LAY-04`` on a budget that
                is not above 0, ``ADL-SCH-02`` when the scheduler needs one.

        Warns:
            BudgetWarning: once per layer, when even the lowest level exceeds the budget.
        """
        limit = self._limit(budget, scheduler)
        top = sum(rank <= limit.rank for rank in self.levels[1:])
        samples = self._samples(x)
        run = self._differentiable if self.training else self._grouped
        outputs, ranks = run(samples, top, price if limit.price is None else limit.price)
        if scheduler is not None and len(samples):
            levels = torch.searchsorted(self._ranks, ranks)
            shares = torch.bincount(levels, minlength=len(self.levels)) / len(samples)
            spent = zip(shares.tolist(), self.energies_mj.values(), strict=True)
            scheduler.observe(sum(share * energy for share, energy in spent), budget)
        return self._like(x, outputs), self._like(x, ranks)

    def first_block(self, x: Tensor, *, output: bool = False) -> FirstBlock:
        """What every level begins with: columns 0 to ``levels[0]`` between the factors.

        Args:
            x: inputs, shape (..., *sample*).
            output: also compute what U makes of them, unless that differs from level to level.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        between = self._encode(self._samples(x), 0, self.levels[0])
        same = output and self.level_gain is None
        block = FirstBlock(between, self._project(between) if same else None)
        return block.each(lambda part: self._like(x, part))

    def at_rank(self, x: Tensor, rank: int, *, first: FirstBlock | None = None) -> Tensor:
        """Outputs at one level for all samples.

        Args:
            x: inputs, shape (..., *sample*).
            rank: one of ``levels``.
            first: :meth:`first_block` of x where it is known.

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level, ``ADL-LAY-03`` when x has
                another shape.
        """
        level = self.level_of(rank)
        samples = self._samples(x)
        if first is None:
            return self._like(x, self.decode(self._encode(samples, 0, rank), rank))
        return self._like(x, self._at_level(level, samples, first.each(self._flat).parts))

    def at_levels(self, x: Tensor, chosen: Tensor, *, first: FirstBlock | None = None) -> Tensor:
        """Outputs at a given level for each sample, at the cost of that level.

        Args:
            x: inputs, shape (..., *sample*).
            chosen: index of the level of each sample, 0 to K - 1, int64, of the shape (...), or of
                the first of its axes.
            first: :meth:`first_block` of x where it is known.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        samples = self._samples(x)
        leading = x.shape[: -self.SAMPLE_AXES]
        every = chosen.reshape((*chosen.shape, *[1] * (len(leading) - chosen.ndim)))
        block = self.first_block(samples) if first is None else first.each(self._flat)
        return self._like(x, self._at_levels(samples, block, every.expand(leading).reshape(-1)))

    def as_decided(self, x: Tensor, decide: Callable[[Tensor], Tensor]) -> Tensor:
        """Outputs at levels that are decided from the first rank block, which is computed once.

        Args:
            x: inputs, shape (..., *sample*).
            decide: from what the gate reads of n samples, shape (n, levels[0]), to the index of the
                level of each; the layer's last level stands for those beyond.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        samples = self._samples(x)
        first = self.first_block(samples)
        chosen = decide(self._gate_features(first.between)).clamp(max=len(self.levels) - 1)
        return self._like(x, self._at_levels(samples, first, chosen))

    def forward_levels(self, x: Tensor) -> Tensor:
        """Outputs at every level, from one z = x V that is computed once and sliced.

        Args:
            x: inputs, shape (..., *sample*).

        Returns:
            Outputs with a leading axis of the levels, in the order of ``levels``.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        outputs = self.decode_levels(self._encode(self._samples(x), 0, self.levels[-1]))
        leading = x.shape[: -self.SAMPLE_AXES]
        return outputs.reshape((len(self.levels), *leading, *outputs.shape[2:]))

    def decode(self, z: Tensor, rank: int) -> Tensor:
        """Outputs at one level from what lies between the factors.

        Args:
            z: x V or what was made of it, ``rank`` or more features or channels.
            rank: one of ``levels``.

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        level = self.level_of(rank)
        block = z.narrow(-self.SAMPLE_AXES, 0, rank)
        if self.level_gain is not None:
            block = block * self._everywhere(self.level_gain[level, :rank]).to(block)
        return self._biased(self._project(block), level)

    def decode_levels(self, z: Tensor) -> Tensor:
        """Outputs at every level from what lies between the factors.

        Args:
            z: x V or what was made of it, with r_max features or channels.

        Returns:
            Outputs with a leading axis of the levels, in the order of ``levels``.
        """
        return torch.stack([self.decode(z, rank) for rank in self.levels])

    def features(self, x: Tensor) -> Tensor:
        """What the gate reads, shape (..., levels[0]).

        Args:
            x: inputs, shape (..., *sample*).

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        return self._like(x, self._gate_features(self.first_block(self._samples(x)).between))

    def level_of(self, rank: int) -> int:
        """Index of the level with this rank.

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        if rank not in self.levels:
            raise ConfigError(
                f"rank {rank} is not a level of this layer",
                where=f"{type(self).__name__}.rank",
                remedy=f"choose one of {self.levels}",
                code="ADL-LAY-02",
            )
        return self.levels.index(rank)

    def expected_cost(
        self, x: Tensor, *, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        """E of every sample under the gate's soft decision: train on ``loss + λ E.mean()``.

        Args:
            x: inputs, shape (..., *sample*).
            alpha, beta: weights of operations and of memory in E.

        Returns:
            Shape (...), see :func:`~adlrns_neuro.functional.cost.relative_cost`; differentiable.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        rank = expected_rank(self.gate.reach(self.features(x)), self.levels)
        return self._relative_cost(rank, alpha, beta)

    def _relative_cost(
        self, rank: Tensor, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        return relative_cost(
            rank, self.fan_in, self.out, alpha=alpha, beta=beta, activations=self.activations
        )

    def _limit(self, budget: float | None, scheduler: RankScheduler | None) -> RankLimit:
        lowest, highest = self.levels[0], self.levels[-1]
        if budget is not None:
            self._check_budget(budget, self.energies_mj[lowest], lowest)
        if scheduler is not None:
            return scheduler.limit(self.energies_mj, budget)
        if budget is None:
            return RankLimit(rank=highest)
        return EnergyAware(r_min=lowest, r_max=highest).limit(self.energies_mj, budget)

    def _grouped(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """Outputs and ranks of (n, *sample*), none above level ``top``, each at its own cost."""
        first = self.first_block(x)
        features = self._gate_features(first.between)
        chosen = self.gate.decide(features, price).clamp(max=top)
        return self._at_levels(x, first, chosen), self._ranks.index_select(0, chosen)

    def _at_levels(self, x: Tensor, first: FirstBlock, chosen: Tensor) -> Tensor:
        """Outputs of (n, *sample*) at the levels ``chosen``, each at its own cost."""
        return run_by_level(x, first.parts, chosen, len(self.levels), self._at_level)

    def _at_level(self, level: int, x: Tensor, first: Sequence[Tensor]) -> Tensor:
        """Outputs of (n, *sample*) at one level, from the parts of their first block on."""
        low, rank, block = self.levels[0], self.levels[level], FirstBlock(*first)
        if block.output is None:
            between = block.between
            if level:
                between = torch.cat([between, self._encode(x, low, rank)], dim=1)
            return self.decode(between, rank)
        outputs = block.output
        if level:
            outputs = outputs + self._project(self._encode(x, low, rank), low)
        return self._biased(outputs, level)

    def _biased(self, outputs: Tensor, level: int) -> Tensor:
        """Outputs with the bias of a level."""
        if self.level_bias is None:
            return outputs
        return outputs + self._everywhere(self.level_bias[: level + 1].sum(dim=0)).to(outputs)

    def _differentiable(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """The same outputs and ranks, with gradients to the gate."""
        levels = self.levels[: top + 1]
        z = self._encode(x, 0, levels[-1])
        features = self._gate_features(z[:, : levels[0]])
        chosen = self.gate.decide(features, price).clamp(max=top)
        soft = self.gate.reach(features, price)[:, :top]
        reach = (torch.arange(top, device=x.device) < chosen[:, None]) + (soft - soft.detach())
        gain = None if self.level_gain is None else self.level_gain[: top + 1, : levels[-1]]
        weights = block_weights(levels, reach.to(z), gain)
        outputs = self._project(z * self._everywhere(weights))
        if self.level_bias is not None:
            bias = self.level_bias[0] + reach @ self.level_bias[1 : top + 1]
            outputs = outputs + self._everywhere(bias).to(outputs)
        return outputs, self._ranks.index_select(0, chosen)

    def _samples(self, x: Tensor) -> Tensor:
        """``x`` as (n, *sample*)."""
        return self._flat(self._checked(x))

    def _flat(self, x: Tensor) -> Tensor:
        """One axis in the place of all before the last that a sample has."""
        if x.ndim == self.SAMPLE_AXES + 1:
            return x
        return x.reshape(-1, *x.shape[-self.SAMPLE_AXES :])

    def _like(self, x: Tensor, outputs: Tensor) -> Tensor:
        """What was computed for each sample, under the leading axes of ``x``."""
        if x.ndim == self.SAMPLE_AXES + 1:
            return outputs
        return outputs.reshape((*x.shape[: -self.SAMPLE_AXES], *outputs.shape[1:]))

    def _everywhere(self, values: Tensor) -> Tensor:
        """One value per feature or channel, the same at all positions."""
        return values.reshape((*values.shape, *[1] * (self.SAMPLE_AXES - 1)))
