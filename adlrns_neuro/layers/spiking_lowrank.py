"""Spiking layers with a rank per sample and step, with the timing of the mapped chip program."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adlrns_neuro.layers.budgets import BudgetCheck
from adlrns_neuro.layers.relayed_pair import PairDynamics, PairRun, RelayedPair
from adlrns_neuro.layers.spiking import SpikingPopulation
from adlrns_neuro.perf import PerfEstimator
from mapping.budget import check_price
from mapping.errors import ConfigError

IMMEDIATE = PairDynamics()


class _SpikingLayer(nn.Module):
    """What both layers share: an input pair, a population, and the checks of what they are given.

    Layers run on one clock: what they return has the steps of what they are given, so that the
    spikes of one are the input of the next. To see what the last inputs cause, put
    ``latency`` steps of zeros behind them, for every layer.
    """

    latency = 2

    def __init__(
        self,
        in_features: int,
        neurons: int,
        *,
        levels: Sequence[int],
        scorer_hidden: int = 0,
        dynamics: PairDynamics = IMMEDIATE,
        current_decay: float = 0.0,
        voltage_decay: float = 0.9375,
        threshold: float = 1.0,
        perf_estimator: PerfEstimator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.neurons = neurons
        self.pair = RelayedPair(
            in_features,
            neurons,
            levels=levels,
            scorer_hidden=scorer_hidden,
            dynamics=dynamics,
            perf_estimator=perf_estimator,
        )
        self.population = SpikingPopulation(
            neurons,
            current_decay=current_decay,
            voltage_decay=voltage_decay,
            threshold=threshold,
        )
        self._check_budget = BudgetCheck(type(self).__name__, "sample and step")

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or not len(x) or x.shape[2] != self.in_features:
            raise ConfigError(
                f"x has shape {tuple(x.shape)}",
                where=f"{type(self).__name__}.x",
                remedy=f"pass (steps, batch, in_features) = (1 or more, n, {self.in_features})",
                code="ADL-LAY-03",
            )

    def _top(self, energies_mj: Sequence[float], budget: float | None) -> int:
        """Index of the highest level that a budget affords, given what each takes."""
        if budget is None:
            return len(energies_mj) - 1
        self._check_budget(budget, energies_mj[0], self.pair.levels[0])
        return sum(energy <= budget for energy in energies_mj[1:])


class SpikingLowRankLayer(_SpikingLayer):
    """Inputs → factor pair with relays between → spiking neurons, at a rank per sample and step.

    The gate evaluates where the summed input has moved by more than ``dynamics.trace_threshold``
    and holds in between; a decision from what the relays of the first block send acts
    ``pair.gate_delay`` steps later; every run starts at the lowest level.
    See :mod:`adlrns_neuro.layers.relayed_pair` for the timing. Decisions carry no gradient; the
    factors get theirs through the open blocks and the neurons' surrogate.

    Args:
        in_features: size of the input.
        neurons: size of the population.
        levels: ranks, ascending, the largest at most min(in_features, neurons).
        scorer_hidden: size of the gate's rectified population; 0 is a linear gate.
        dynamics: of relays and gate over time.
        current_decay, voltage_decay, threshold: of the neurons, see
            :class:`~adlrns_neuro.layers.spiking.SpikingPopulation`.
        perf_estimator: models what a level costs; on the V100 if None.

    Attributes:
        in_features, neurons: as given.
        pair: :class:`~adlrns_neuro.layers.relayed_pair.RelayedPair`; ``pair.projection`` holds
            factors and gate.
        population: :class:`~adlrns_neuro.layers.spiking.SpikingPopulation`.
        latency: steps from an input to the first spike that it can cause.

    Raises:
        ConfigError: ``ADL-LAY-01``, ``ADL-GAT-01``, ``ADL-LIF-01``, ``ADL-LIF-02`` as the parts.
    """

    @property
    def levels(self) -> tuple[int, ...]:
        """Ranks that the layer can run at, ascending."""
        return self.pair.levels

    def forward(
        self, x: Tensor, *, budget: float | None = None, price: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Spikes at the ranks that the gate chooses, none above what the budget affords.

        Args:
            x: inputs, shape (steps, batch, in_features).
            budget: modelled energy per sample and step [mJ]; no limit if None.
            price: of the gate's cost; the gate's own if None.

        Returns:
            Spikes 0 or 1, shape (steps, batch, neurons), and the rank that is open to what
            reaches the relays in each step, shape (steps, batch), int64, without a gradient.

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape, ``ADL-LAY-04`` on a budget that
                is not above 0, ``ADL-BUD-03`` when the price is negative or not finite.

        Warns:
            BudgetWarning: once per layer, when even the lowest level exceeds the budget.
        """
        self._check(x)
        if price is not None:
            check_price(price, where="SpikingLowRankLayer.price")
        top = self._top(list(self.pair.projection.energies_mj.values()), budget)
        currents, chosen = self.pair.gated_currents(x, top, price)
        return self.population(currents), self.pair.ranks_of(chosen)

    def at_rank(self, x: Tensor, rank: int) -> Tensor:
        """Spikes at one level for all samples and steps, shape (steps, batch, neurons).

        Args:
            x: inputs, shape (steps, batch, in_features).
            rank: one of ``levels``.

        Raises:
            ConfigError: ``ADL-LAY-02`` when ``rank`` is not a level, ``ADL-LAY-03`` when x has
                another shape.
        """
        self._check(x)
        spikes: Tensor = self.population(self.pair.currents(x, self.pair.projection.level_of(rank)))
        return spikes

    def forward_levels(self, x: Tensor) -> Tensor:
        """Spikes at every level in one pass, shape (levels, steps, batch, neurons).

        Args:
            x: inputs, shape (steps, batch, in_features).

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        self._check(x)
        merged = _along_the_batch(self.pair.current_levels(x))
        return _by_level(self.population(merged), len(self.levels))


class RecurrentSpikingLowRankLayer(_SpikingLayer):
    """A spiking layer whose neurons feed each other through a second factor pair.

    The second pair has levels and a gate of its own; a spike reaches its relays one step, and the
    neurons two steps after it was sent, as on the chip. Everything else is as in
    :class:`SpikingLowRankLayer`, the recurrent part step by step.

    Args:
        recurrent_levels: ranks of the recurrent pair, the largest at most ``neurons``.
        in_features, neurons, levels, scorer_hidden, dynamics, current_decay, voltage_decay,
            threshold, perf_estimator: as in :class:`SpikingLowRankLayer`, for both pairs.

    Attributes:
        recurrent_pair: :class:`~adlrns_neuro.layers.relayed_pair.RelayedPair` from the neurons to
            themselves.
        in_features, neurons, pair, population, latency: as in :class:`SpikingLowRankLayer`.

    Raises:
        ConfigError: as :class:`SpikingLowRankLayer`.
    """

    def __init__(
        self,
        in_features: int,
        neurons: int,
        *,
        levels: Sequence[int],
        recurrent_levels: Sequence[int],
        scorer_hidden: int = 0,
        dynamics: PairDynamics = IMMEDIATE,
        current_decay: float = 0.0,
        voltage_decay: float = 0.9375,
        threshold: float = 1.0,
        perf_estimator: PerfEstimator | None = None,
    ) -> None:
        super().__init__(
            in_features,
            neurons,
            levels=levels,
            scorer_hidden=scorer_hidden,
            dynamics=dynamics,
            current_decay=current_decay,
            voltage_decay=voltage_decay,
            threshold=threshold,
            perf_estimator=perf_estimator,
        )
        self.recurrent_pair = RelayedPair(
            neurons,
            neurons,
            levels=recurrent_levels,
            scorer_hidden=scorer_hidden,
            dynamics=dynamics,
            perf_estimator=perf_estimator,
        )

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Ranks of both pairs at each level of the layer; the shorter list repeats its last."""
        pairs = (self.pair, self.recurrent_pair)
        count = max(len(pair.levels) for pair in pairs)
        own, recurrent = (
            pair.levels + pair.levels[-1:] * (count - len(pair.levels)) for pair in pairs
        )
        return tuple(zip(own, recurrent, strict=True))

    def forward(
        self, x: Tensor, *, budget: float | None = None, price: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Spikes at the ranks that the two gates choose, none above what the budget affords.

        Args:
            x: inputs, shape (steps, batch, in_features).
            budget: modelled energy of both pairs per sample and step [mJ]; it affords a level of
                ``levels``. No limit if None.
            price: of both gates' cost; their own if None.

        Returns:
            Spikes 0 or 1, shape (steps, batch, neurons), and those ranks of the input pair and of
            the recurrent pair, shape (2, steps, batch), int64.

        Raises:
            ConfigError: as :meth:`SpikingLowRankLayer.forward`.

        Warns:
            BudgetWarning: once per layer, when even the lowest level exceeds the budget.
        """
        self._check(x)
        if price is not None:
            check_price(price, where="RecurrentSpikingLowRankLayer.price")
        own, recurrent = (
            self.pair.projection.energies_mj,
            self.recurrent_pair.projection.energies_mj,
        )
        rank, recurrent_rank = self.levels[
            self._top([own[r] + recurrent[s] for r, s in self.levels], budget)
        ]
        currents, chosen = self.pair.gated_currents(x, self.pair.projection.level_of(rank), price)
        top = self.recurrent_pair.projection.level_of(recurrent_rank)
        spikes, again = self._run(currents, top, None, price)
        return spikes, torch.stack(
            [self.pair.ranks_of(chosen), self.recurrent_pair.ranks_of(again)]
        )

    def at_rank(self, x: Tensor, rank: int, recurrent_rank: int) -> Tensor:
        """Spikes at one level of each pair, shape (steps, batch, neurons).

        Args:
            x: inputs, shape (steps, batch, in_features).
            rank, recurrent_rank: of the input pair and of the recurrent pair.

        Raises:
            ConfigError: ``ADL-LAY-02`` when a rank is not a level, ``ADL-LAY-03`` when x has
                another shape.
        """
        self._check(x)
        currents = self.pair.currents(x, self.pair.projection.level_of(rank))
        top = self.recurrent_pair.projection.level_of(recurrent_rank)
        return self._run(currents, top, torch.full((x.shape[1],), top, device=x.device), None)[0]

    def forward_levels(self, x: Tensor) -> Tensor:
        """Spikes at every level of ``levels`` in one pass, shape (levels, steps, batch, neurons).

        Args:
            x: inputs, shape (steps, batch, in_features).

        Raises:
            ConfigError: ``ADL-LAY-03`` when x has another shape.
        """
        self._check(x)
        count = len(self.levels)
        every = torch.arange(count, device=x.device)
        own = self.pair.current_levels(x)[every.clamp(max=len(self.pair.levels) - 1)]
        top = len(self.recurrent_pair.levels) - 1
        chosen = every.clamp(max=top).repeat_interleave(x.shape[1])
        return _by_level(self._run(_along_the_batch(own), top, chosen, None)[0], count)

    def _run(
        self, currents: Tensor, top: int, chosen: Tensor | None, price: float | None
    ) -> tuple[Tensor, Tensor]:
        """Spikes, and the level of the recurrent relays in each step, (steps, batch)."""
        sent = torch.zeros_like(currents[0])
        run = PairRun(self.recurrent_pair, sent, top, chosen, price)
        state, spikes, levels = None, [], []
        for current in currents:
            back, level = run.step(sent)
            sent, state = self.population.step(current + back, state)
            spikes.append(sent)
            levels.append(level)
        return torch.stack(spikes), torch.stack(levels)


def _along_the_batch(currents: Tensor) -> Tensor:
    """(levels, steps, batch, n) as (steps, levels * batch, n)."""
    levels, steps, batch, n = currents.shape
    return currents.transpose(0, 1).reshape(steps, levels * batch, n)


def _by_level(spikes: Tensor, levels: int) -> Tensor:
    """(steps, levels * batch, n) as (levels, steps, batch, n)."""
    return spikes.reshape(len(spikes), levels, -1, spikes.shape[-1]).transpose(0, 1)
