"""A two-population spiking classifier with the timing of the mapped chip program.

Every synapse matrix delays by one step and neurons by none, so a low-rank pair (V, relays, U)
delays by two and a full matrix by one. Payloads arrive in steps 0..T-1; the network then runs on
without input until the last of them has reached the readout. All state is zero before step 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from adlrns_neuro.data.coding import Coding, is_binary
from adlrns_neuro.functional.gate import gate_states, leading_gates
from adlrns_neuro.functional.relay import host_payloads, relay_payloads
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.relayed_pair import check_dynamics
from adlrns_neuro.layers.spiking import SpikingPopulation
from mapping.budget import check_price
from mapping.errors import ConfigError

DENSE_DELAY = 1
LOW_RANK_DELAY = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class SnnConfig:
    """Sizes, timing and neuron constants of the classifier.

    Attributes:
        inputs: number of inputs.
        hidden: neurons of the hidden population.
        classes: neurons of the readout population.
        levels: ranks of the input projection, ascending.
        steps: T, the number of steps in which payloads arrive.
        hidden_current_decay, hidden_voltage_decay, hidden_threshold: constants of the hidden
            population, see :class:`~adlrns_neuro.layers.spiking.SpikingPopulation`.
        readout_current_decay, readout_voltage_decay, readout_threshold: the same of the readout.
        payload_max: largest integer payload.
        payload_scale: value of one payload unit in the units of the weights.
        coding: how images become payloads; ``rate`` and ``latency`` send 0 and 1 alone.
        relay_threshold: magnitude up to which relays pile their input up before they send it, in
            units of the weights times the payload scale; 0 sends in every step.
        gate_decay, trace_decay, trace_threshold: how the gate of the input projection behaves over
            time, see :class:`mapping.ir.network.RankGate`.

    Raises:
        ConfigError: ``ADL-SNN-03`` when a binary coding comes with graded payloads, ``ADL-SNN-04``
            when the steps, or a relay's or gate's constant, are out of their range, ``ADL-COD-01``
            when there is no such coding.
    """

    inputs: int = 64
    hidden: int = 64
    classes: int = 10
    levels: tuple[int, ...] = (4, 8, 16)
    steps: int = 8
    hidden_current_decay: float = 0.0
    hidden_voltage_decay: float = 0.9375
    hidden_threshold: float = 1.0
    readout_current_decay: float = 0.5
    readout_voltage_decay: float = 0.9375
    readout_threshold: float = 1.0
    payload_max: int = 16
    payload_scale: float = 1 / 16
    coding: Coding = "direct"
    relay_threshold: float = 0.0
    gate_decay: float = 1.0
    trace_decay: float = 1.0
    trace_threshold: float = 0.0

    def __post_init__(self) -> None:
        if is_binary(self.coding) and self.payload_max != 1:
            raise ConfigError(
                f"payload_max is {self.payload_max}, but {self.coding} coding sends 0 and 1",
                where="SnnConfig.payload_max",
                remedy="choose payload_max=1 and payload_scale=1.0",
                code="ADL-SNN-03",
            )
        check_dynamics(self)
        if self.steps < 1:
            raise ConfigError(
                f"{self.steps} steps bring no input",
                where="SnnConfig.steps",
                remedy="choose 1 or more",
                code="ADL-SNN-04",
            )

    @property
    def delta(self) -> bool:
        """Whether payloads are changes."""
        return self.coding == "delta"


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

    def forward_levels(self, payloads: Tensor, *, open_at: int = 0) -> SpikeTrains:
        """Run at every level in one pass; the levels ride along the batch axis.

        Args:
            payloads, open_at: as in :meth:`forward`.

        Returns:
            Spikes with a leading axis of the levels, in the order of ``config.levels``; the relays
            are those of the largest.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`.
        """
        inputs = self._inputs(payloads)
        still = open_at == 0 and self.config.relay_threshold == 0.0 and _is_still(inputs)
        relayed = self._relayed_from(inputs[:1] if still else inputs, open_at)
        currents = self.input_projection.decode_levels(relayed)
        if still:
            relayed = relayed.expand(len(inputs), -1, -1)
            currents = currents.expand(-1, len(inputs), -1, -1)
        levels, steps, batch, hidden = currents.shape
        merged = currents.transpose(0, 1).reshape(steps, levels * batch, hidden)
        trains = self._run(_arriving(merged, LOW_RANK_DELAY))

        def split(spikes: Tensor) -> Tensor:
            return spikes.reshape(len(spikes), levels, batch, spikes.shape[-1]).transpose(0, 1)

        return SpikeTrains(
            hidden=split(trains.hidden), readout=split(trains.readout), relayed=relayed
        )

    def forward_gated(self, payloads: Tensor, price: float) -> tuple[SpikeTrains, Tensor]:
        """Run as the chip does with the gate of the input projection, held back at the host.

        Args:
            payloads: as in :meth:`forward`.
            price: of a level's cost, see :class:`mapping.ir.network.Gate`.

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
        levels = leading_gates(nn.functional.pad(on[:-1], (0, 0, 0, 0, 1, 0)))
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
