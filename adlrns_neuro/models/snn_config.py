"""Sizes, timing and constants of the spiking classifiers."""

from __future__ import annotations

from dataclasses import dataclass

from adlrns_neuro.data.coding import Coding, is_binary
from adlrns_neuro.layers.relayed_pair import check_dynamics
from mapping.errors import ConfigError


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


def check_opening(snn: SnnConfig, open_at: int, *, where: str) -> None:
    """Refuse blocks that open when no input is left, or before it begins.

    Args:
        snn: the network.
        open_at: step from which on the blocks above the first are fed.
        where: what errors call it.

    Raises:
        ConfigError: ``ADL-TRN-04``.
    """
    if len(snn.levels) > 1 and not 0 <= open_at < snn.steps:
        raise ConfigError(
            f"the blocks above the first would open at step {open_at}, outside of the "
            f"{snn.steps} steps with input",
            where=where,
            remedy=f"open them at a step from 0 to {snn.steps - 1}, or raise the number of steps",
            code="ADL-TRN-04",
        )
