"""Fitting a gate to trained factors, and pricing it for an energy budget.

Both work on held-out samples of which two things are known: the first rank block, and the loss at
every level (cross-entropy, or 1 where the answer is wrong and 0 where it is right). The factors
are not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.gates.network import GateNetwork
from mapping.errors import ConfigError

RIDGE = 1e-2
"""Penalty on the squared weights per sample, for features of unit variance."""
LEARNING_RATE = 1e-2
"""Of Adam, for a gate with a hidden population."""
ITERATIONS = 500
"""Full-batch steps for a gate with a hidden population; a second or less on one core."""
CONSTANT = 1e-6
"""A feature that deviates less, relative to its largest value, holds rounding noise only."""
MARGIN = 1e-5
"""By so much a price is raised: sums of a few float32 products differ by less."""
BISECTIONS = 60
"""Enough to halve any price range down to a double's resolution."""


def fit_gate(gate: GateNetwork, features: Tensor, losses: Tensor) -> None:
    """Regress what each level gains over the one below, in place, by least squares.

    A linear gate has a closed form. A hidden population is fitted by Adam from the gate's present
    hidden weights, on features of unit variance; the scaling is folded into them afterwards.

    Args:
        gate: what is fitted; cost and price stay.
        features: first rank block of held-out samples, shape (n, f).
        losses: loss of each sample at each level, shape (n, K).

    Raises:
        ConfigError: ``ADL-GAT-02`` when the shapes do not fit the gate or a value is not finite.
    """
    _check(gate, features, losses)
    features, losses = features.detach().double(), losses.detach().double()
    gains = losses[:, :-1] - losses[:, 1:]
    mean = features.mean(dim=0)
    deviation = features.std(dim=0, correction=0)
    varies = deviation > CONSTANT * features.abs().amax(dim=0)
    scale = torch.where(varies, deviation, torch.ones_like(deviation))
    standard = (features - mean) / scale
    with torch.no_grad():
        if gate.hidden_weight is not None and gate.hidden_bias is not None:
            hidden_weight, hidden_bias, weight, bias = _hidden_fit(
                (gate.hidden_weight, gate.hidden_bias, gate.weight), standard, gains
            )
            gate.hidden_weight.copy_(hidden_weight / scale)
            gate.hidden_bias.copy_(hidden_bias - hidden_weight @ (mean / scale))
        else:
            weight, bias = _linear_fit(standard, gains)
            bias = bias - weight @ (mean / scale)
            weight = weight / scale
        gate.weight.copy_(weight)
        gate.bias.copy_(bias)


def price_for_energy(
    gate: GateNetwork, features: Tensor, energies_mj: Sequence[float], budget_mj: float
) -> float:
    """The lowest price at which the mean energy over ``features`` keeps a budget, by bisection.

    It is a hair above that, since gains are rounded otherwise in batches of other sizes.

    Args:
        gate: a fitted gate; its own price plays no part.
        features: first rank block of samples like those to come, shape (n, f).
        energies_mj: energy of a sample at each of the K levels [mJ], ascending.
        budget_mj: the mean energy per sample to keep [mJ].

    Returns:
        A price of 0 or more, for ``gate.price``; 0 where the gate keeps the budget for nothing.

    Raises:
        ConfigError: ``ADL-GAT-02`` when the shapes do not fit the gate, ``ADL-GAT-03`` when even
            the lowest level breaks the budget.
    """
    _check(gate, features, torch.zeros(len(features), len(energies_mj)))
    if not budget_mj >= energies_mj[0]:
        raise ConfigError(
            f"a budget of {budget_mj:.3g} mJ is below the {energies_mj[0]:.3g} mJ of the lowest "
            "level",
            where="price_for_energy.budget_mj",
            remedy="raise the budget or train a smaller lowest level",
            code="ADL-GAT-03",
        )
    energies = torch.tensor(energies_mj, dtype=torch.float64)

    def keeps(price: float) -> bool:
        with torch.no_grad():
            levels = gate.decide(features, price).cpu()
        return float(energies[levels].mean()) <= budget_mj

    return lowest_price(keeps) * (1.0 + MARGIN)


def lowest_price(
    keeps: Callable[[float], bool], *, highest: float = math.inf, bisections: int = BISECTIONS
) -> float:
    """The lowest price that keeps a budget, by doubling and bisection.

    Args:
        keeps: whether a price of 0 or more keeps it; a higher price is taken to keep what a lower
            one does, and some price to keep it if ``highest`` is infinite.
        highest: what to answer if no lower price does.
        bisections: halvings of the interval that is left after doubling.
    """
    if keeps(0.0):
        return 0.0
    low, high = 0.0, min(1.0, highest)
    while high < highest and not keeps(high):
        low, high = high, min(2.0 * high, highest)
    for _ in range(bisections):
        middle = (low + high) / 2.0
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _linear_fit(features: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression on centred features: weight (K - 1, f) and bias (K - 1,)."""
    bias = gains.mean(dim=0)
    moment = features.T @ features / len(features)
    moment.diagonal().add_(RIDGE)
    weight = torch.linalg.solve(moment, features.T @ (gains - bias) / len(features)).T
    return weight, bias


@torch.enable_grad()
def _hidden_fit(
    start: tuple[Tensor, Tensor, Tensor], features: Tensor, gains: Tensor
) -> tuple[Tensor, ...]:
    """Hidden weights and biases, weights and biases, fitted to standardised features."""
    parameters = [parameter.detach().to(features).clone() for parameter in start]
    parameters.append(gains.mean(dim=0))
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    for _ in range(ITERATIONS):
        hidden_weight, hidden_bias, weight, bias = parameters
        predicted = torch.relu(features @ hidden_weight.T + hidden_bias) @ weight.T + bias
        loss = F.mse_loss(predicted, gains) + RIDGE * weight.square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return tuple(parameter.detach() for parameter in parameters)


def _check(gate: GateNetwork, features: Tensor, losses: Tensor) -> None:
    f = gate.features
    levels = len(gate.bias) + 1
    samples = len(features)
    fits = features.shape == (samples, f) and losses.shape == (samples, levels) and samples > 0
    if not (fits and features.isfinite().all() and losses.isfinite().all()):
        raise ConfigError(
            f"features of shape {tuple(features.shape)} and {tuple(losses.shape)} values for "
            f"samples and levels do not fit a gate of {f} features and {levels} levels, or are "
            "not finite",
            where="GateNetwork",
            remedy=f"pass finite features (n, {f}) and one value per sample and level",
            code="ADL-GAT-02",
        )
