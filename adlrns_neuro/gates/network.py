"""The gate of a low-rank layer: K - 1 thresholds that choose one of K levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.functional.gate import leading_gates
from mapping.errors import ConfigError
from mapping.ir.network import FloatArray, RankGate

UNFITTED_GAIN = 1.0
"""Gain that a gate predicts before it is fitted: all levels are worth it while they cost nothing,
so that an unfitted gate never lowers a rank."""


class GateNetwork(nn.Module):
    """Predicts, from the first rank block, what each further level gains, and weighs the cost.

    Gate k is on iff gain_k > price * cost_k, where gain_k = weight_k · f + bias_k; with a hidden
    population f is max(hidden_weight f + hidden_bias, 0) instead. The level is the number of
    gates on before the first that is off. This is what
    :class:`mapping.ir.network.RankGate` computes on a chip; it reads ``features`` values that the
    layer computes anyway and adds features * (K - 1) multiply-accumulates, or
    hidden * (features + K - 1).

    Args:
        features: width f of the first rank block.
        cost: what each level costs more than the one below, K - 1 positive numbers.
        scorer_hidden: size of the rectified population; 0 is a linear gate.

    Attributes:
        weight, bias: parameters, shapes (K - 1, f or hidden) and (K - 1,).
        hidden_weight, hidden_bias: parameters, shapes (hidden, f) and (hidden,); None without a
            hidden population.
        features, scorer_hidden: as given.
        cost: buffer, shape (K - 1,).
        price: buffer, scalar: gain that a unit of cost must bring. The energy budget's only knob.

    Raises:
        ConfigError: ``ADL-GAT-01`` when a size is out of range or a cost not positive.
    """

    hidden_weight: nn.Parameter | None
    hidden_bias: nn.Parameter | None
    cost: Tensor
    price: Tensor

    def __init__(self, features: int, cost: Sequence[float], *, scorer_hidden: int = 0) -> None:
        super().__init__()
        if features < 1 or scorer_hidden < 0 or not all(0 < c < float("inf") for c in cost):
            raise ConfigError(
                f"{features} features, {scorer_hidden} hidden neurons, costs {tuple(cost)}",
                where="GateNetwork",
                remedy="give 1 feature or more, 0 hidden neurons or more, and positive costs",
                code="ADL-GAT-01",
            )
        self.features = features
        self.scorer_hidden = scorer_hidden
        self.weight = nn.Parameter(torch.zeros(len(cost), scorer_hidden or features))
        self.bias = nn.Parameter(torch.full((len(cost),), UNFITTED_GAIN))
        self.hidden_weight = self.hidden_bias = None
        if scorer_hidden:
            self.hidden_weight = nn.Parameter(torch.empty(scorer_hidden, features))
            self.hidden_bias = nn.Parameter(torch.zeros(scorer_hidden))
            nn.init.kaiming_uniform_(self.hidden_weight, nonlinearity="relu")
        self.register_buffer("cost", torch.tensor(cost, dtype=torch.get_default_dtype()))
        self.register_buffer("price", torch.tensor(0.0))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a decision."""
        hidden = 0 if self.hidden_weight is None else self.hidden_weight.numel()
        return hidden + self.weight.numel()

    def gains(self, features: Tensor) -> Tensor:
        """Predicted gain of each level over the one below.

        Args:
            features: the first rank block, shape (..., f).

        Returns:
            Shape (..., K - 1), in the units that the gate was fitted to.
        """
        if self.hidden_weight is not None:
            features = torch.relu(F.linear(features, self.hidden_weight, self.hidden_bias))
        return features @ self.weight.T + self.bias

    def decide(self, features: Tensor, price: float | Tensor | None = None) -> Tensor:
        """The level of every sample.

        Args:
            features: shape (..., f).
            price: instead of the gate's own.

        Returns:
            Levels 0 to K - 1, shape (...), int64.
        """
        price = self.price if price is None else price
        return leading_gates(self.gains(features) > price * self.cost)

    def reach(self, features: Tensor, price: float | Tensor | None = None) -> Tensor:
        """Soft decision: the probability that each level above the first is reached.

        Gate k is on with probability sigmoid(gain_k - price * cost_k), and a level is reached
        where all gates up to it are on.

        Args:
            features: shape (..., f).
            price: instead of the gate's own.

        Returns:
            Shape (..., K - 1), falling along the last axis, differentiable.
        """
        price = self.price if price is None else price
        return torch.sigmoid(self.gains(features) - price * self.cost).cumprod(dim=-1)

    def to_rank_gate(
        self,
        *,
        decay: float = 0.0,
        trace_decay: float = 0.0,
        trace_threshold: float = 0.0,
        at: Literal["relay", "source"] = "relay",
    ) -> RankGate:
        """The gate as the compiler's arrays; the price is set when the program runs.

        Args:
            decay, trace_decay, trace_threshold, at: how it behaves over time and what it holds
                back, see :class:`mapping.ir.network.RankGate`.
        """
        return RankGate(
            weight=_array(self.weight),
            bias=_array(self.bias),
            cost=_array(self.cost),
            decay=decay,
            trace_decay=trace_decay,
            trace_threshold=trace_threshold,
            hidden_weight=np.zeros((0, 0))
            if self.hidden_weight is None
            else _array(self.hidden_weight),
            hidden_bias=np.zeros(0) if self.hidden_bias is None else _array(self.hidden_bias),
            at=at,
        )

    def forward(self, features: Tensor) -> Tensor:
        """The level of every sample at the gate's own price, see :meth:`decide`."""
        return self.decide(features)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.features}, levels={len(self.bias) + 1}, scorer_hidden={self.scorer_hidden}"


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float64)
