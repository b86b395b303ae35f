"""A two-population spiking classifier with the timing of the mapped chip program.

Every synapse matrix delays by one step and neurons by none, so a low-rank pair (V, relays, U)
delays by two and a full matrix by one. Payloads arrive in steps 0..T-1; the network then runs on
without input until the last of them has reached the readout. All state is zero before step 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adlrns_neuro.data.coding import Coding, is_binary
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.spiking import SpikingPopulation
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

    Raises:
        ConfigError: ``ADL-SNN-03`` when a binary coding comes with graded payloads, ``ADL-COD-01``
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

    def __post_init__(self) -> None:
        if is_binary(self.coding) and self.payload_max != 1:
            raise ConfigError(
                f"payload_max is {self.payload_max}, but {self.coding} coding sends 0 and 1",
                where="SnnConfig.payload_max",
                remedy="choose payload_max=1 and payload_scale=1.0",
                code="ADL-SNN-03",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeTrains:
    """Spikes of one run, 0 or 1.

    Attributes:
        hidden: shape (..., steps, batch, hidden).
        readout: shape (..., steps, batch, classes).
    """

    hidden: Tensor
    readout: Tensor

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
        legal = (payloads >= 0) & (payloads <= config.payload_max) & (payloads == payloads.round())
        if not legal.all():
            raise ConfigError(
                f"{int((~legal).sum())} payloads are not integers from 0 to {config.payload_max}",
                where="payloads",
                remedy="send integers and put their scale into payload_scale",
                code="ADL-SNN-02",
            )
        return payloads * config.payload_scale

    def _run(self, hidden_currents: Tensor, *, delay: int) -> SpikeTrains:
        """Both populations; the currents, shape (T, batch, hidden), arrive ``delay`` steps late."""
        currents = nn.functional.pad(hidden_currents, (0, 0, 0, 0, delay, DENSE_DELAY))
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

    def forward(self, payloads: Tensor, rank: int | None = None) -> SpikeTrains:
        """Run at one level.

        Args:
            payloads: integers 0 to ``payload_max`` as floats, shape (T, batch, inputs).
            rank: one of ``config.levels``; the largest when None.

        Returns:
            Spikes over T + 3 steps.

        Raises:
            ConfigError: ``ADL-SNN-01`` on a wrong shape, ``ADL-SNN-02`` on a payload that is not
                such an integer, ``ADL-LAY-02`` when ``rank`` is not a level.
        """
        rank = self.config.levels[-1] if rank is None else rank
        currents = self.input_projection.at_rank(self._inputs(payloads), rank)
        return self._run(currents, delay=LOW_RANK_DELAY)

    def forward_levels(self, payloads: Tensor) -> SpikeTrains:
        """Run at every level in one pass; the levels ride along the batch axis.

        Args:
            payloads: as in :meth:`forward`.

        Returns:
            Spikes with a leading axis of the levels, in the order of ``config.levels``.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as in :meth:`forward`.
        """
        currents = self.input_projection.forward_levels(self._inputs(payloads))
        levels, steps, batch, hidden = currents.shape
        merged = currents.transpose(0, 1).reshape(steps, levels * batch, hidden)
        trains = self._run(merged, delay=LOW_RANK_DELAY)

        def split(spikes: Tensor) -> Tensor:
            return spikes.reshape(len(spikes), levels, batch, -1).transpose(0, 1)

        return SpikeTrains(hidden=split(trains.hidden), readout=split(trains.readout))

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
        return self._run(self.input_projection(self._inputs(payloads)), delay=DENSE_DELAY)

    def predict(self, payloads: Tensor) -> Tensor:
        """Classes, shape (batch,), as those of :meth:`LowRankSNN.predict`."""
        with torch.no_grad():
            return self.forward(payloads).predictions
