"""A factor pair with relays between its factors, over the steps of a run, as the chip runs it.

Synapses take one step. What the input of step t brings reaches the relays at t + 1 and the neurons
at t + 2. The gate hears at t + 2 what the relays of the first rank block sent at t + 1 (at t + 3
with a hidden population), and block k is open while the first k gates are on. Relays that send in
every step obey the gate one step later. Those that pile up cannot take back what they have sent,
so it is their source that the gate holds back, which takes a step more; the compiler can do that
where the source is the host. All is at rest before step 0, all gates are off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.gate import (
    GateMemory,
    gate_signal,
    gate_states,
    gate_step,
    leading_gates,
)
from adlrns_neuro.functional.relay import relay_payloads, relay_step
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError

PAIR_DELAY = 2
"""Steps from an input to the current that it causes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairDynamics:
    """How relays and gate of a factor pair behave over time.

    Attributes:
        relay_threshold: magnitude up to which relays pile their input up before they send it, in
            the units of x V; 0 sends in every step.
        gate_decay, trace_decay, trace_threshold: see :class:`mapping.ir.network.RankGate`.

    Raises:
        ConfigError: ``ADL-SNN-04`` when a constant is out of its range.
    """

    relay_threshold: float = 0.0
    gate_decay: float = 1.0
    trace_decay: float = 1.0
    trace_threshold: float = 0.0

    def __post_init__(self) -> None:
        check_dynamics(self)


def check_dynamics(holder: object) -> None:
    """Refuse what relays and gates cannot do.

    Args:
        holder: has the attributes of :class:`PairDynamics`.

    Raises:
        ConfigError: ``ADL-SNN-04`` when one of them is out of its range.
    """
    for name in ("relay_threshold", "gate_decay", "trace_decay", "trace_threshold"):
        value = getattr(holder, name)
        decays = name.endswith("decay")
        if not (0.0 <= value <= 1.0 if decays else 0.0 <= value < inf):
            raise ConfigError(
                f"{value} is out of range",
                where=f"{type(holder).__name__}.{name}",
                remedy=f"choose a number {'from 0 to 1' if decays else 'of 0 or more'}",
                code="ADL-SNN-04",
            )


class RelayedPair(nn.Module):
    """Currents of a run through one factor pair, at a given level or at the gate's.

    Args:
        in_features, out_features, levels, scorer_hidden, perf_estimator: see
            :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`.
        dynamics: of relays and gate.

    Attributes:
        projection: :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`, without level biases
            and gains.
        dynamics: as given.
        gate_at: where the gate acts, ``"relay"``, or ``"source"`` with a relay threshold.
        gate_delay: steps from the features to the effect of a decision: 2, one more with a hidden
            population, one more at the source; :attr:`mapping.ir.network.RankGate.delay`.

    Raises:
        ConfigError: ``ADL-LAY-01``, ``ADL-GAT-01`` as the projection.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        levels: Sequence[int],
        scorer_hidden: int,
        dynamics: PairDynamics,
        perf_estimator: PerfEstimator | None,
    ) -> None:
        super().__init__()
        self.projection = DynamicLowRankLayer(
            in_features,
            out_features,
            levels=levels,
            scorer_hidden=scorer_hidden,
            perf_estimator=perf_estimator,
        )
        self.dynamics = dynamics
        self.gate_at: Literal["relay", "source"] = (
            "source" if dynamics.relay_threshold > 0.0 else "relay"
        )
        self.gate_delay = 2 + (scorer_hidden > 0) + (self.gate_at == "source")

    @property
    def levels(self) -> tuple[int, ...]:
        """Ranks that the pair can run at, ascending."""
        return self.projection.levels

    def currents(self, x: Tensor, level: int) -> Tensor:
        """Currents at one level, in the step in which they reach the neurons.

        Args:
            x: inputs, shape (steps, batch, in).
            level: index of the level.

        Returns:
            Shape (steps, batch, out).
        """
        rank = self.levels[level]
        sent = relay_payloads(x @ self.projection.V[:, :rank], self.dynamics.relay_threshold)
        return later(self.projection.decode(sent, rank), PAIR_DELAY)

    def current_levels(self, x: Tensor) -> Tensor:
        """Currents at every level, from one x V; shape (levels, steps, batch, out)."""
        sent = relay_payloads(x @ self.projection.V, self.dynamics.relay_threshold)
        return later(self.projection.decode_levels(sent).transpose(0, 1), PAIR_DELAY).transpose(
            0, 1
        )

    def gated_currents(self, x: Tensor, top: int, price: float | None) -> tuple[Tensor, Tensor]:
        """Currents at the levels that the gate chooses.

        In evaluation mode, relays that send in every step are not even computed for samples whose
        blocks are closed.

        Args:
            x: inputs, shape (steps, batch, in).
            top: index of the highest level.
            price: of the gate's cost; the gate's own if None.

        Returns:
            Currents in the step in which they reach the neurons, shape (steps, batch, out), and the
            level that is open to what reaches the relays in each step, shape (steps, batch), int64.
        """
        layer, threshold = self.projection, self.dynamics.relay_threshold
        first = relay_payloads(layer.features(x), threshold)
        chosen = self._chosen(first, x.sum(dim=-1), price).clamp(max=top)
        arriving = later(x, 1)
        if threshold == 0.0 and not self.training:
            return later(layer.at_levels(arriving, chosen), 1), chosen
        low, rank = self.levels[0], self.levels[top]
        rest = arriving @ layer.V[:, low:rank] * self.is_open(chosen, top)[..., low:]
        rest = relay_payloads(rest, threshold)
        sent = torch.cat([later(first, 1), rest], dim=-1)
        return later(layer.decode(sent, rank), 1), chosen

    def gate_inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What reaches the gate in every step: its features and the summed input of the layer.

        Args:
            x: inputs, shape (steps, batch, in).

        Returns:
            Shapes (steps, batch, ``levels[0]``) and (steps, batch).
        """
        first = relay_payloads(self.projection.features(x), self.dynamics.relay_threshold)
        return self._heard(first, x.sum(dim=-1))

    def is_open(self, chosen: Tensor, top: int) -> Tensor:
        """Which relays are reached at the levels ``chosen``, shape (..., rank of level ``top``)."""
        ranks = self.ranks_of(chosen)
        return torch.arange(self.levels[top], device=chosen.device) < ranks[..., None]

    def ranks_of(self, chosen: Tensor) -> Tensor:
        """Ranks of the levels ``chosen``, in their shape, int64."""
        return torch.tensor(self.levels, device=chosen.device)[chosen]

    def _chosen(self, first: Tensor, summed: Tensor, price: float | None) -> Tensor:
        """Level that is open to what reaches the relays in each step."""
        gate, dynamics = self.projection.gate, self.dynamics
        features, trace = self._heard(first, summed)
        on = gate_states(
            features,
            gate.weight,
            gate.bias,
            gate.cost,
            gate.price if price is None else price,
            decay=dynamics.gate_decay,
            hidden_weight=gate.hidden_weight,
            hidden_bias=gate.hidden_bias,
            trace_input=trace,
            trace_decay=dynamics.trace_decay,
            trace_threshold=dynamics.trace_threshold,
        )
        obeyed = 1 + (self.gate_at == "source")
        return later(leading_gates(on)[..., None], obeyed)[..., 0]

    def _heard(self, first: Tensor, summed: Tensor) -> tuple[Tensor, Tensor]:
        heard = 2 + (self.projection.gate.scorer_hidden > 0)
        return later(first, heard), later(summed[..., None], PAIR_DELAY)[..., 0]


class PairRun:
    """One run of a :class:`RelayedPair`, step by step.

    Args:
        pair: what runs.
        x: gives batch size, dtype and device, shape (batch, in).
        top: index of the highest level.
        chosen: level of each sample, shape (batch,), int64; None lets the gate choose.
        price: of the gate's cost; the gate's own if None.
    """

    def __init__(
        self,
        pair: RelayedPair,
        x: Tensor,
        top: int,
        chosen: Tensor | None,
        price: float | None,
    ) -> None:
        gate = pair.projection.gate
        self._pair, self._top, self._chosen = pair, top, chosen
        self._rank, self._low = pair.levels[top], pair.levels[0]
        self._price = gate.price if price is None else price
        self._sent = x.new_zeros(len(x), self._rank)
        self._piled = torch.zeros_like(self._sent)
        self._signal = gate.weight.new_zeros(len(x), len(gate.bias))
        self._gates = GateMemory.empty(self._signal)
        self._summed = x.new_zeros(len(x))
        self._told = leading_gates(self._gates.on)

    def step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Move on by one step.

        Args:
            x: inputs of the step before, shape (batch, in); zeros at first.

        Returns:
            Currents that reach the neurons in this step, shape (batch, out), and the level that is
            open to what reaches the relays in it, shape (batch,), int64.
        """
        pair, layer = self._pair, self._pair.projection
        current = layer.decode(self._sent, self._rank)
        wanted = leading_gates(self._gates.on)
        level = (self._told if pair.gate_at == "source" else wanted).clamp(max=self._top)
        self._told = wanted
        if self._chosen is not None:
            level = self._chosen
        before = self._sent
        arriving = x @ layer.V[:, : self._rank] * pair.is_open(level, self._top)
        self._sent, self._piled = relay_step(self._piled, arriving, pair.dynamics.relay_threshold)
        if self._chosen is None:
            with torch.no_grad():
                self._decide(before[:, : self._low], x)
        return current, level

    def _decide(self, before: Tensor, x: Tensor) -> None:
        """Move the gate on; ``before`` is what the first block sent in the step before."""
        gate, dynamics = self._pair.projection.gate, self._pair.dynamics
        self._gates = gate_step(
            self._gates,
            self._signal,
            gate.bias,
            gate.cost,
            self._price,
            decay=dynamics.gate_decay,
            trace_arriving=self._summed,
            trace_decay=dynamics.trace_decay,
            trace_threshold=dynamics.trace_threshold,
        )
        heard = before if gate.scorer_hidden else self._sent[:, : self._low]
        self._signal = gate_signal(heard, gate.weight, gate.hidden_weight, gate.hidden_bias)
        self._summed = x.sum(dim=-1)


def later(values: Tensor, steps: int) -> Tensor:
    """``values``, shape (steps, batch, ...), moved back in time behind zeros; as many steps."""
    return torch.cat([torch.zeros_like(values[:steps]), values[: max(len(values) - steps, 0)]])
