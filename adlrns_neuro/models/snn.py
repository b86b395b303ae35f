"""A two-population spiking classifier with the timing of the mapped chip program.

Every synapse matrix delays by one step and neurons by none, so a low-rank pair (V, relays, U)
delays by two and a full matrix by one. Payloads arrive in steps 0..T-1; the network then runs on
without input until the last of them has reached the readout. All state is zero before step 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.gate import gate_states, leading_gates
from adlrns_neuro.functional.relay import host_payloads, relay_payloads
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.spiking import SpikingPopulation
from adlrns_neuro.models.snn_config import SnnConfig
from adlrns_neuro.perf import PerfEstimator
from mapping.budget import check_price
from mapping.errors import ConfigError

DENSE_DELAY = 1
LOW_RANK_DELAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeTrains:
    """Spikes of one run, 0 or 1.

    Attributes:
        hidden: shape (..., steps, batch, hidden).
        readout: shape (..., steps, batch, classes).
        relayed: payloads of the relays of all ranks in the order of the steps with input, shape
            (T or more, batch, r_max); None without relays.
    """

    hidden: Tensor
    readout: Tensor
    relayed: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """Readout spikes per class over all steps, shape (..., batch, classes)."""
        return self.readout.sum(dim=-3)

    @property
    def predictions(self) -> Tensor:
        """Class with the most readout spikes, ties to the lowest index, shape (..., batch)."""
        return self.counts.argmax(dim=-1)


class _SpikingClassifier(nn.Module):
    """What the low-rank network and its dense teacher share: all but the input projection."""

    def __init__(self, config: SnnConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden = SpikingPopulation(
            config.hidden,
            current_decay=config.hidden_current_decay,
            voltage_decay=config.hidden_voltage_decay,
            threshold=config.hidden_threshold,
        )
        self.output_projection = nn.Linear(config.hidden, config.classes, bias=False)
        self.readout = SpikingPopulation(
            config.classes,
            current_decay=config.readout_current_decay,
            voltage_decay=config.readout_voltage_decay,
            threshold=config.readout_threshold,
        )

    def _inputs(self, payloads: Tensor) -> Tensor:
        """Payloads in the units of the weights, once they are known to be legal."""
        config = self.config
        if payloads.ndim != 3 or (payloads.shape[0], payloads.shape[2]) != (
            config.steps,
            config.inputs,
        ):
            raise ConfigError(
                f"payloads have shape {tuple(payloads.shape)}",
                where="payloads",
                remedy=f"pass (steps, batch, inputs) = ({config.steps}, n, {config.inputs})",
                code="ADL-SNN-01",
            )
        signal = payloads.cumsum(dim=0) if config.delta else payloads
        legal = (signal >= 0) & (signal <= config.payload_max) & (payloads == payloads.round())
        if not legal.all():
            raise ConfigError(
                f"{int((~legal).sum())} payloads are not, or do not add up to, integers from 0 to "
                f"{config.payload_max}",
                where="payloads",
                remedy="send integers and put their scale into payload_scale",
                code="ADL-SNN-02",
            )
        return payloads.to(self.output_projection.weight.dtype) * config.payload_scale

    def _run(self, currents: Tensor) -> SpikeTrains:
        """Both populations over all steps; ``currents``, (steps, batch, hidden), as they arrive."""
        hidden = self.hidden(currents)
        delayed = nn.functional.pad(hidden, (0, 0, 0, 0, DENSE_DELAY, 0))[:-DENSE_DELAY]
        return SpikeTrains(hidden=hidden, readout=self.readout(self.output_projection(delayed)))


class LowRankSNN(_SpikingClassifier):
    """Payloads → factor pair → hidden population → full matrix → readout population.

    One set of weights serves every rank in ``config.levels``. A run takes T + 3 steps: hidden
    current at step t is the input of step t - 2, readout current at step t comes from the hidden
    spikes of step t - 1.

    Attributes:
        input_projection: :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`.
        hidden, readout: :class:`~adlrns_neuro.layers.spiking.SpikingPopulation`.
        output_projection: bias-free :class:`torch.nn.Linear`.
        latency: steps from a payload to the readout current that it causes.
    """

    latency = LOW_RANK_DELAY + DENSE_DELAY

    def __init__(self, config: SnnConfig) -> None:
        super().__init__(config)
        self.input_projection = DynamicLowRankLayer(
            config.inputs, config.hidden, levels=config.levels
        )

    @classmethod
    def from_dense(
        cls,
        dense: DenseSNN,
        second_moment: Tensor,
        *,
        levels: tuple[int, ...] | None = None,
        perf_estimator: PerfEstimator | None = None,
    ) -> Self:
        """Start from a trained network by activation-whitened SVD of its input matrix at r_max.

        Args:
            dense: not changed.
            second_moment: E[x xᵀ] of its inputs in the units of the weights, over samples and
                steps, shape (inputs, inputs).
            levels: ranks, ascending; those of the dense network's configuration if None.
            perf_estimator: models what a level costs; on the V100 if None.

        Raises:
            ConfigError: as :meth:`DynamicLowRankLayer.from_dense`.
        """
        config = replace(dense.config, levels=levels or dense.config.levels)
        model = cls(config).to(dense.output_projection.weight.device)
        model.input_projection = DynamicLowRankLayer.from_dense(
            dense.input_projection.weight,
            second_moment,
            config.levels,
            perf_estimator=perf_estimator,
        )
        model.output_projection.load_state_dict(dense.output_projection.state_dict())
        return model

    def forward(
        self, payloads: Tensor, rank: int | None = None, *, open_at: int = 0
    ) -> SpikeTrains:
        """Run at one level.

        Args:
            payloads: integers 0 to ``payload_max`` as floats, or their changes with delta coding,
                shape (T, batch, inputs).
            rank: one of ``config.levels``; the largest when None.
            open_at: step from which on the host sends to the blocks above the first.

        Returns:
            Spikes over T + 3 steps.

        Raises:
            ConfigError: ``ADL-SNN-01`` on a wrong shape, ``ADL-SNN-02`` on a payload that is not
                such an integer, ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        rank = self.config.levels[-1] if rank is None else rank
        relayed = self._relayed_from(self._inputs(payloads), open_at)
        currents = self.input_projection.decode(relayed, rank)
        return replace(self._run(_arriving(currents, LOW_RANK_DELAY)), relayed=relayed)

    def forward_levels(
        self, payloads: Tensor, levels: Sequence[int] | None = None, *, open_at: int = 0
    ) -> SpikeTrains:
        """Run at several levels in one pass; the levels ride along the batch axis.

        Args:
            payloads, open_at: as in :meth:`forward`.
            levels: their indices; all by default.

        Returns:
            Spikes with a leading axis of the levels, in the order given; the relays are those of
            the largest.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`.
        """
        inputs = self._inputs(payloads)
        still = open_at == 0 and self.config.relay_threshold == 0.0 and _is_still(inputs)
        relayed = self._relayed_from(inputs[:1] if still else inputs, open_at)
        ranks = self.config.levels if levels is None else [self.config.levels[k] for k in levels]
        currents = torch.stack([self.input_projection.decode(relayed, rank) for rank in ranks])
        if still:
            relayed = relayed.expand(len(inputs), -1, -1)
            currents = currents.expand(-1, len(inputs), -1, -1)
        count, steps, batch, hidden = currents.shape
        merged = currents.transpose(0, 1).reshape(steps, count * batch, hidden)
        trains = self._run(_arriving(merged, LOW_RANK_DELAY))

        def split(spikes: Tensor) -> Tensor:
            return spikes.reshape(len(spikes), count, batch, spikes.shape[-1]).transpose(0, 1)

        return SpikeTrains(
            hidden=split(trains.hidden), readout=split(trains.readout), relayed=relayed
        )

    def forward_gated(
        self, payloads: Tensor, price: float, *, top: int | None = None
    ) -> tuple[SpikeTrains, Tensor]:
        """Run as the chip does with the gate of the input projection, held back at the host.

        Args:
            payloads: as in :meth:`forward`.
            price: of a level's cost, see :class:`mapping.ir.network.Gate`.
            top: index of the highest level that may be served; all may by default.

        Returns:
            Spikes over T + 3 steps, and the level that the host serves in each, shape
            (T + 3, batch), int64, without a gradient.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`, ``ADL-BUD-03`` when
                the price is negative or not finite.
        """
        check_price(price, where="LowRankSNN.forward_gated")
        config, gate = self.config, self.input_projection.gate
        inputs = nn.functional.pad(self._inputs(payloads), (0, 0, 0, 0, 0, self.latency))
        features, trace = self.gate_inputs(payloads)
        on = gate_states(
            features,
            gate.weight,
            gate.bias,
            gate.cost,
            price,
            decay=config.gate_decay,
            trace_input=trace,
            trace_decay=config.trace_decay,
            trace_threshold=config.trace_threshold,
        )
        levels = leading_gates(nn.functional.pad(on[:-1], (0, 0, 0, 0, 1, 0))).clamp(
            max=len(config.levels) - 1 if top is None else top
        )
        steps = torch.arange(1, len(config.levels), device=levels.device)
        relayed = self._relayed(inputs, levels[..., None] >= steps)
        currents = self.input_projection.decode(relayed, config.levels[-1])
        run = _arriving(currents, LOW_RANK_DELAY)[: config.steps + self.latency]
        return replace(self._run(run), relayed=relayed), levels

    def gate_inputs(self, payloads: Tensor) -> tuple[Tensor, Tensor]:
        """What reaches the gate in every step of a run.

        Args:
            payloads: as in :meth:`forward`.

        Returns:
            Payloads of the first rank block, shape (T + 3, batch, ``levels[0]``), and the layer's
            summed input, shape (T + 3, batch).

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`.
        """
        inputs = self._inputs(payloads)
        first = relay_payloads(self.input_projection.features(inputs), self.config.relay_threshold)
        late = (LOW_RANK_DELAY, self.latency - LOW_RANK_DELAY)
        return (
            nn.functional.pad(first, (0, 0, 0, 0, *late)),
            nn.functional.pad(inputs.sum(dim=-1), (0, 0, *late)),
        )

    def gate_features(self, payloads: Tensor) -> Tensor:
        """What the gate has heard by the end of the input: leaky sums, shape (batch, levels[0]).

        The gain of a linear gate is a leaky sum over the steps, so it is fitted to these.

        Args:
            payloads: as in :meth:`forward`.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`.
        """
        arriving, _ = self.gate_inputs(payloads)
        heard = torch.zeros_like(arriving[0])
        for step in arriving[: self.config.steps + LOW_RANK_DELAY]:
            heard = self.config.gate_decay * heard + step
        return heard

    def synaptic_ops(
        self, payloads: Tensor, trains: SpikeTrains, served: Tensor, *, gated: bool
    ) -> float:
        """Synapses that what is sent in a run reaches, mean per sample.

        Args:
            payloads: as in :meth:`forward`.
            trains: what they caused.
            served: level that the host serves in each step with input, shape (T, batch).
            gated: count what reaches the gate.
        """
        config = self.config
        assert trains.relayed is not None
        if served.numel() == 0:
            return 0.0
        sent = int(payloads.count_nonzero())
        reached = sent * config.levels[0]
        for block, (low, high) in enumerate(pairwise(config.levels)):
            fed = host_payloads(payloads, served > block, delta=config.delta)
            reached += int(fed.count_nonzero()) * (high - low)
        relayed = trains.relayed[..., : config.levels[int(served.max())]]
        reached += int(relayed.count_nonzero()) * config.hidden
        reached += int(trains.hidden.count_nonzero()) * config.classes
        if gated:
            first = relayed[..., : config.levels[0]].count_nonzero()
            reached += int(first) * (len(config.levels) - 1)
            reached += sent * (config.trace_threshold > 0.0)
        return reached / served.shape[1]

    def _relayed_from(self, inputs: Tensor, open_at: int) -> Tensor:
        """Payloads of all relays when every gate opens at one step."""
        steps, batch, _ = inputs.shape
        is_open = torch.arange(steps, device=inputs.device) >= open_at
        gates = len(self.config.levels) - 1
        return self._relayed(inputs, is_open[:, None, None].expand(steps, batch, gates))

    def _relayed(self, inputs: Tensor, is_open: Tensor) -> Tensor:
        """Payloads of all relays, a step early; ``is_open`` is (steps, batch, K - 1)."""
        layer, config = self.input_projection, self.config
        blocks = [layer.features(inputs)]
        for block, (low, high) in enumerate(pairwise(config.levels)):
            sent = host_payloads(inputs, is_open[..., block], delta=config.delta)
            blocks.append(sent @ layer.V[:, low:high])
        return relay_payloads(torch.cat(blocks, dim=-1), config.relay_threshold)

    def predict(self, payloads: Tensor, rank: int | None = None) -> Tensor:
        """Classes, shape (batch,): most readout spikes over all steps, ties to the lowest index.

        Arguments and errors are those of :meth:`forward`.
        """
        with torch.no_grad():
            return self.forward(payloads, rank).predictions


class DenseSNN(_SpikingClassifier):
    """The same classifier with a full input matrix: the teacher. A run takes T + 2 steps.

    Attributes:
        input_projection, output_projection: bias-free :class:`torch.nn.Linear`.
        hidden, readout: :class:`~adlrns_neuro.layers.spiking.SpikingPopulation`.
        latency: steps from a payload to the readout current that it causes.
    """

    latency = DENSE_DELAY + DENSE_DELAY

    def __init__(self, config: SnnConfig) -> None:
        super().__init__(config)
        self.input_projection = nn.Linear(config.inputs, config.hidden, bias=False)

    def forward(self, payloads: Tensor) -> SpikeTrains:
        """Spikes over T + 2 steps; arguments and errors are those of :meth:`LowRankSNN.forward`."""
        inputs = self._inputs(payloads)
        still = _is_still(inputs)
        currents = self.input_projection(inputs[:1] if still else inputs)
        return self._run(_arriving(currents.expand(len(inputs), -1, -1), DENSE_DELAY))

    def synaptic_ops(self, payloads: Tensor, trains: SpikeTrains) -> float:
        """Synapses that what is sent in a run reaches, mean per sample."""
        sent, spikes = payloads.count_nonzero(), trains.hidden.count_nonzero()
        reached = int(sent) * self.config.hidden + int(spikes) * self.config.classes
        return reached / max(payloads.shape[1], 1)

    def predict(self, payloads: Tensor) -> Tensor:
        """Classes, shape (batch,), as those of :meth:`LowRankSNN.predict`."""
        with torch.no_grad():
            return self.forward(payloads).predictions


def _is_still(inputs: Tensor) -> bool:
    """Whether all steps have the same input, as in direct coding: it is then projected once."""
    return bool((inputs == inputs[:1]).all())


def _arriving(currents: Tensor, delay: int) -> Tensor:
    """Currents of the steps with input, when they reach the hidden population, to the run's end."""
    return nn.functional.pad(currents, (0, 0, 0, 0, delay, DENSE_DELAY))
