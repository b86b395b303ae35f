"""Spiking networks as classifiers like any other: samples → logits, at a level or at the gate's.

Samples come first here and steps second, as loaders yield them; the networks take steps first. A
logit is a number of readout spikes times a scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.cost import FLOPS_SHARE, MEMORY_SHARE
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.ranked import RankedModule
from adlrns_neuro.layers.spiking import Activity
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SpikeTrains
from adlrns_neuro.models.snn_config import check_opening
from adlrns_neuro.schedulers import RankLimit
from mapping.errors import ConfigError


class DenseSnnClassifier(nn.Module):
    """A :class:`~adlrns_neuro.models.snn.DenseSNN` as a classifier: the teacher.

    Args:
        network: what runs.
        logit_scale: logit per readout spike.

    Attributes:
        network, logit_scale: as given.
        synaptic_ops: synapses that payloads and spikes reached, per sample in the last call.
    """

    def __init__(self, network: DenseSNN, logit_scale: float) -> None:
        super().__init__()
        self.network = network
        self.logit_scale = logit_scale
        self.synaptic_ops = 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (n, classes).

        Args:
            inputs: payloads, shape (n, steps, inputs), of any type that holds integers.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as :meth:`DenseSNN.forward`.
        """
        payloads = _payloads(inputs, self.network)
        trains: SpikeTrains = self.network(payloads)
        self.synaptic_ops = self.network.synaptic_ops(payloads, trains)
        return trains.counts * self.logit_scale

    def forward_active(self, inputs: Tensor) -> tuple[Tensor, Activity]:
        """Logits, and how active the network was; the rest is as in :meth:`forward`."""
        trains: SpikeTrains = self.network(_payloads(inputs, self.network))
        return trains.counts * self.logit_scale, {"activity": trains.hidden.mean()}


class RankedSnnClassifier(RankedModule):
    """A :class:`~adlrns_neuro.models.snn.LowRankSNN` as a classifier with one rank, or one gate.

    At level k the host serves level 0 until the step ``open_at`` and level k from then on. With
    ``level`` None it serves in each step what the gate has decided. Energies are those of the
    factor pair, one call for each step with input.

    Args:
        network: what runs.
        logit_scale: logit per readout spike.
        open_at: step from which on the blocks above the first are fed.

    Attributes:
        network, logit_scale, open_at: as given.
        served: level that the host served in each step with input, shape (T, n), in the last call
            in which the gate decided.
        synaptic_ops: synapses that payloads and spikes reached, the gate's too where it decided,
            per sample in the last call.
        level, scheduler, price_per_mj: see :class:`~adlrns_neuro.layers.ranked.RankedModule`.

    Raises:
        ConfigError: ``ADL-TRN-04`` when blocks would open after the last step.
    """

    def __init__(self, network: LowRankSNN, *, logit_scale: float, open_at: int) -> None:
        super().__init__()
        check_opening(network.config, open_at, where="RankedSnnClassifier.open_at")
        self.network = network
        self.logit_scale = logit_scale
        self.open_at = open_at
        self.served: Tensor | None = None
        self.synaptic_ops = 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (n, classes).

        Args:
            inputs: payloads, shape (n, steps, inputs), of any type that holds integers.

        Raises:
            ConfigError: ``ADL-SNN-01``, ``ADL-SNN-02`` as :meth:`LowRankSNN.forward`,
                ``ADL-SCH-02`` when the scheduler needs a budget.
        """
        top = len(self.levels) - 1
        if self.level is None:
            return self._gated(inputs)
        if isinstance(self.level, int):
            return self._at(inputs, min(self.level, top))
        chosen = self.level.clamp(max=top)
        logits = self.network.output_projection.weight.new_zeros(
            (len(inputs), self.network.config.classes)
        )
        reached = 0.0
        for level in sorted(set(chosen.tolist())):
            some = (chosen == level).nonzero()[:, 0]
            logits = logits.index_copy(0, some, self._at(inputs[some], level))
            reached += self.synaptic_ops * len(some)
        self.synaptic_ops = reached / max(len(inputs), 1)
        return logits

    def forward_levels(self, inputs: Tensor, levels: Sequence[int] | None = None) -> Tensor:
        """Logits at several levels from one pass.

        Args:
            inputs: as in :meth:`forward`.
            levels: their indices; all by default.

        Returns:
            Shape (levels, n, classes).
        """
        return self.forward_active(inputs, levels)[0]

    def forward_active(
        self, inputs: Tensor, levels: Sequence[int] | None = None
    ) -> tuple[Tensor, Activity]:
        """Logits, and how active the network was; the rest is as in :meth:`forward_levels`."""
        payloads = _payloads(inputs, self.network)
        trains = self.network.forward_levels(payloads, levels, open_at=self.open_at)
        assert trains.relayed is not None
        active = {"activity": trains.hidden.mean(), "relays": trains.relayed.abs().mean()}
        return trains.counts * self.logit_scale, active

    @property
    def levels(self) -> tuple[int, ...]:
        """The network's ranks, ascending."""
        return self.network.config.levels

    @property
    def gate(self) -> GateNetwork:
        """What the network's gate computes."""
        return self.network.input_projection.gate

    @property
    def energies_mj(self) -> tuple[float, ...]:
        """Modelled energy of a sample at each level, over all its steps [mJ]."""
        steps, late = self._step_energies_mj, self.open_at
        return tuple(late * steps[0] + (self.network.config.steps - late) * e for e in steps)

    @property
    def spent_mj(self) -> float:
        """Modelled energy per sample in the last call in which the gate decided [mJ]."""
        if self.served is None or self.served.shape[1] == 0:
            return 0.0
        energies = enumerate(self._step_energies_mj)
        total = sum(int((self.served == level).sum()) * energy for level, energy in energies)
        return total / self.served.shape[1]

    def features(self, input: Tensor) -> Tensor:
        """What the gate has heard by the end of the input, shape (n, levels[0])."""
        return self.network.gate_features(_payloads(input, self.network))

    def expected_cost(
        self, input: Tensor, *, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        """Refused: decisions over the steps of a run carry no gradient.

        Raises:
            ConfigError: ``ADL-SNN-05``.
        """
        raise gate_cannot_learn()

    def _at(self, inputs: Tensor, level: int) -> Tensor:
        payloads = _payloads(inputs, self.network)
        trains: SpikeTrains = self.network(payloads, self.levels[level], open_at=self.open_at)
        steps = torch.arange(self.network.config.steps, device=payloads.device)
        served = (steps >= self.open_at).long() * level
        self.synaptic_ops = self.network.synaptic_ops(
            payloads, trains, served[:, None].expand(-1, payloads.shape[1]), gated=False
        )
        return trains.counts * self.logit_scale

    def _gated(self, inputs: Tensor) -> Tensor:
        energies = dict(zip(self.levels, self.energies_mj, strict=True))
        limit = RankLimit(rank=self.levels[-1])
        if self.scheduler is not None:
            limit = self.scheduler.limit(energies)
        price = self.price() if limit.price is None else limit.price
        payloads = _payloads(inputs, self.network)
        trains, levels = self.network.forward_gated(
            payloads,
            float(self.gate.price) if price is None else price,
            top=sum(rank <= limit.rank for rank in self.levels[1:]),
        )
        self.served = levels[: self.network.config.steps]
        self.synaptic_ops = self.network.synaptic_ops(payloads, trains, self.served, gated=True)
        if self.scheduler is not None:
            self.scheduler.observe(self.spent_mj)
        return trains.counts * self.logit_scale

    @property
    def _step_energies_mj(self) -> tuple[float, ...]:
        return tuple(self.network.input_projection.energies_mj.values())


def gate_cannot_learn() -> ConfigError:
    """The error ``ADL-SNN-05`` about a gate that should train with its factors."""
    return ConfigError(
        "the gate of a spiking network decides step by step, which carries no gradient",
        where="train.energy_penalty_weight",
        remedy="set it to 0, which fits the gate after training; train.activity_penalty makes "
        "neurons spike less",
        code="ADL-SNN-05",
    )


def _payloads(inputs: Tensor, network: DenseSNN | LowRankSNN) -> Tensor:
    """Steps first, in the type of the weights; what has no steps is left to the network's check."""
    values = inputs.to(network.output_projection.weight.dtype)
    return values.transpose(0, 1).contiguous() if values.ndim == 3 else values
