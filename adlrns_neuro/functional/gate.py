"""A rank gate's decisions over time, as the chip takes them.

The equations are those of :class:`mapping.ir.network.Gate`, with the optional rectified population
of :class:`mapping.ir.network.RankGate` before it. A decision acts on the relays one step after it
is taken.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor


class GateMemory(NamedTuple):
    """What gates keep from one step to the next.

    Attributes:
        gain: leaky sum of what reached the gates, shape (batch, K - 1).
        trace: leaky sum of the layer's input, shape (batch,).
        seen: the trace at the last evaluation, shape (batch,).
        on: which gates are on, shape (batch, K - 1), bool.
    """

    gain: Tensor
    trace: Tensor
    seen: Tensor
    on: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> Self:
        """Memory of gates that are all off, for signals such as ``like``, shape (batch, K - 1)."""
        silent = like.new_zeros(like.shape[0])
        return cls(torch.zeros_like(like), silent, silent, torch.zeros_like(like, dtype=torch.bool))


def gate_step(
    memory: GateMemory,
    arriving: Tensor,
    bias: Tensor,
    cost: Tensor,
    price: float | Tensor,
    *,
    decay: float,
    trace_arriving: Tensor | None = None,
    trace_decay: float = 0.0,
    trace_threshold: float = 0.0,
) -> GateMemory:
    """One step of :func:`gate_states`.

    Args:
        memory: of the step before.
        arriving: signal that reaches the gates, see :func:`gate_signal`, shape (batch, K - 1).
        bias, cost, price, decay, trace_decay, trace_threshold: as in :func:`gate_states`.
        trace_arriving: the layer's summed input that reaches them, shape (batch,).

    Returns:
        Memory after the step; ``on`` are the decisions.
    """
    gain = decay * memory.gain + arriving
    wanted = gain + bias > price * cost
    trace, seen = memory.trace, memory.seen
    if trace_threshold > 0.0:
        assert trace_arriving is not None, "a trigger needs the trace's input"
        trace = trace_decay * trace + trace_arriving
        moved = (trace - seen).abs() > trace_threshold
        seen = torch.where(moved, trace, seen)
        wanted = torch.where(moved[:, None], wanted, memory.on)
    return GateMemory(gain, trace, seen, wanted)


def gate_states(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: Tensor,
    price: float | Tensor,
    *,
    decay: float,
    hidden_weight: Tensor | None = None,
    hidden_bias: Tensor | None = None,
    trace_input: Tensor | None = None,
    trace_decay: float = 0.0,
    trace_threshold: float = 0.0,
) -> Tensor:
    """Which gates are on after every step of a run that starts with all of them off.

    Args:
        features: what the relays of the first rank block sent, in the step in which it reaches
            the gate, shape (steps, batch, f). A hidden population takes a step to pass, so
            nothing reaches the gate through it in step 0, whatever ``features[0]`` holds.
        weight: shape (K - 1, f), or (K - 1, hidden) with a hidden population; K levels.
        bias: constant part of the gain, shape (K - 1,).
        cost: what the next level costs more than this one, shape (K - 1,), positive.
        price: of that cost, in gain per cost.
        decay: share of the gain kept per step, 0 to 1.
        hidden_weight, hidden_bias: of the rectified population, shapes (hidden, f) and (hidden,);
            a linear gate when None.
        trace_input: summed input of the layer in the step in which it reaches the gate, shape
            (steps, batch); needed when ``trace_threshold`` is above 0.
        trace_decay: share of the trace kept per step, 0 to 1.
        trace_threshold: change of the trace since the last evaluation that triggers the next one;
            0 evaluates every step.

    Returns:
        True where a gate is on, shape (steps, batch, K - 1), bool; without a gradient.
    """
    with torch.no_grad():
        signal = gate_signal(features, weight, hidden_weight, hidden_bias)
        if hidden_weight is not None:
            signal[0] = 0.0
        memory = GateMemory.empty(signal[0])
        states = []
        for step, arriving in enumerate(signal):
            memory = gate_step(
                memory,
                arriving,
                bias,
                cost,
                price,
                decay=decay,
                trace_arriving=None if trace_input is None else trace_input[step],
                trace_decay=trace_decay,
                trace_threshold=trace_threshold,
            )
            states.append(memory.on)
        return torch.stack(states)


def leading_gates(on: Tensor) -> Tensor:
    """Index of the level that is reached: how many gates are on before the first that is off.

    Args:
        on: gate states, shape (..., K - 1), bool.

    Returns:
        Levels 0 to K - 1, shape (...), int64.
    """
    return on.long().cumprod(dim=-1).sum(dim=-1)


def gate_signal(
    features: Tensor,
    weight: Tensor,
    hidden_weight: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> Tensor:
    """What features become on their way to the gates.

    Args:
        features: what the relays of the first rank block sent, shape (..., f).
        weight, hidden_weight, hidden_bias: as in :func:`gate_states`.

    Returns:
        Shape (..., K - 1).
    """
    if hidden_weight is None:
        return features @ weight.T
    assert hidden_bias is not None, "a hidden population has weights and biases"
    return torch.relu(features @ hidden_weight.T + hidden_bias) @ weight.T
