from __future__ import annotations

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor

from adlrns_neuro.functional import expected_rank, gate_states, leading_gates, relative_cost
from adlrns_neuro.gates import GateNetwork, fit_gate, price_for_energy
from adlrns_neuro.gates.fit import lowest_price
from mapping.errors import ConfigError

LEVELS = (4, 8, 16)
COST = (0.1, 0.3)
ENERGIES = (1.0, 2.0, 4.0)


def random_gate(scorer_hidden: int) -> GateNetwork:
    gate = GateNetwork(4, COST, scorer_hidden=scorer_hidden)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.normal_()
    return gate


@pytest.mark.parametrize("scorer_hidden", [0, 6])
def test_an_unfitted_gate_never_lowers_a_rank(scorer_hidden: int) -> None:
    gate = GateNetwork(4, COST, scorer_hidden=scorer_hidden)
    assert (gate(100.0 * torch.randn(50, 4)) == 2).all()


@pytest.mark.parametrize("scorer_hidden", [0, 6])
def test_a_decision_is_the_leading_gates_whose_gain_exceeds_the_price(scorer_hidden: int) -> None:
    gate, features = random_gate(scorer_hidden).double(), torch.randn(200, 4).double()
    gains, cost = gate.gains(features).detach().numpy(), gate.cost.numpy()
    on = gains > 2.0 * cost
    expected = np.where(on[:, 0], 1 + on[:, 1], 0)
    assert len(np.unique(expected)) == 3
    np.testing.assert_array_equal(gate.decide(features, 2.0).numpy(), expected)
    gate.price.fill_(2.0)
    np.testing.assert_array_equal(gate(features).numpy(), expected)


@pytest.mark.parametrize("scorer_hidden", [0, 6])
def test_the_exported_gate_decides_the_same(scorer_hidden: int) -> None:
    gate, features = random_gate(scorer_hidden), torch.randn(200, 4)
    out = gate.to_rank_gate(decay=0.0, trace_decay=0.5, trace_threshold=0.0, at="source")
    assert (out.trace_decay, out.at, out.hidden) == (0.5, "source", scorer_hidden)
    assert out.delay == 3 + (scorer_hidden > 0)
    on = gate_states(
        features.double().expand(2, 200, 4),
        torch.tensor(out.weight),
        torch.tensor(out.bias),
        torch.tensor(out.cost),
        1.5,
        decay=out.decay,
        hidden_weight=torch.tensor(out.hidden_weight) if scorer_hidden else None,
        hidden_bias=torch.tensor(out.hidden_bias) if scorer_hidden else None,
    )
    assert torch.equal(leading_gates(on[1]), gate.decide(features, 1.5))


def test_the_soft_decision_is_that_of_independent_gates() -> None:
    gate, features = random_gate(0), torch.randn(30, 4)
    first, second = torch.sigmoid(gate.gains(features) - 2.0 * gate.cost).unbind(dim=-1)
    reach = gate.reach(features, 2.0)
    torch.testing.assert_close(reach, torch.stack([first, first * second], dim=-1))
    by_hand = 4 * (1 - first) + 8 * first * (1 - second) + 16 * first * second
    torch.testing.assert_close(expected_rank(reach, LEVELS), by_hand)


def test_relative_cost_is_one_at_the_break_even_rank_and_linear() -> None:
    even = torch.tensor([512 * 256 / 768])
    torch.testing.assert_close(relative_cost(even, 512, 256), torch.ones(1))
    ranks = torch.tensor([4.0, 8.0, 12.0])
    assert relative_cost(ranks, 512, 256).diff().diff().abs() < 1e-6
    by_hand = 0.25 * 8 * (0.1 * 512 + 256) / (0.1 * 512 * 256)
    by_hand += 0.75 * 9 * 768 / (512 * 256 + 768)
    cost = relative_cost(ranks, 512, 256, alpha=0.25, beta=0.75, activity=0.1)
    assert float(cost[1]) == pytest.approx(by_hand)


def linear_losses(features: Tensor) -> Tensor:
    """Losses whose steps are linear in the features."""
    steps = features @ torch.tensor([[1.0, -2.0, 0.0, 0.5], [0.0, 1.0, 1.0, 0.0]]).T
    steps = steps + torch.tensor([0.3, -0.2])
    start = torch.full((len(features), 1), 9.0)
    return torch.cat([start, start - steps.cumsum(dim=-1)], dim=-1)


def uneven_features(samples: int) -> Tensor:
    """Features of unequal scale, off centre, one of them constant."""
    return torch.randn(samples, 4) * torch.tensor([5.0, 0.2, 1.0, 0.0]) + torch.tensor(3.0)


def test_a_linear_gate_finds_linear_gains() -> None:
    gate = GateNetwork(4, COST)
    features, unseen = uneven_features(500), uneven_features(100)
    fit_gate(gate, features, linear_losses(features))
    losses = linear_losses(unseen)
    gains = losses[:, :-1] - losses[:, 1:]
    error = (gate.gains(unseen) - gains).square().mean(dim=0)
    assert (error < 0.01 * gains.var(dim=0)).all()
    assert (gate.decide(unseen, 0.0) == leading_gates(gains > 0)).float().mean() > 0.9


def test_a_hidden_population_finds_gains_that_no_line_does() -> None:
    """The gain grows with the magnitude of a feature."""

    def losses(features: Tensor) -> Tensor:
        size = (features[:, :1] - 3.0).abs()
        return torch.cat([torch.zeros_like(size), -size, -2.0 * size], dim=-1)

    features, unseen = uneven_features(500), uneven_features(100)
    errors = []
    for scorer_hidden in (0, 16):
        gate = GateNetwork(4, COST, scorer_hidden=scorer_hidden)
        fit_gate(gate, features, losses(features))
        gains = losses(unseen)[:, :-1] - losses(unseen)[:, 1:]
        errors.append(float(((gate.gains(unseen) - gains).square().mean() / gains.var()).detach()))
    assert errors[1] < 0.1 < 0.7 < errors[0]


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 3.7])
def test_a_price_is_the_lowest_that_keeps_the_mean_energy(budget: float) -> None:
    gate, features = random_gate(0), torch.randn(500, 4)
    with torch.no_grad():
        gate.bias += 5.0
    price = price_for_energy(gate, features, ENERGIES, budget)

    def mean(price: float) -> float:
        return float(torch.tensor(ENERGIES)[gate.decide(features, price)].mean())

    assert mean(price) <= budget < mean(price * 0.999)
    assert mean(price) > budget - 4.0 / 500 * 3


def test_a_budget_that_everything_keeps_costs_nothing() -> None:
    assert price_for_energy(GateNetwork(4, COST), torch.randn(9, 4), ENERGIES, 4.0) == 0.0


@pytest.mark.parametrize("budget", [0.9, float("nan")])
def test_a_budget_below_the_lowest_level_is_refused(budget: float) -> None:
    with refused(ConfigError, "ADL-GAT-03", where="budget_mj", remedy="raise"):
        price_for_energy(GateNetwork(4, COST), torch.randn(9, 4), ENERGIES, budget)


@pytest.mark.parametrize(
    ("features", "cost", "hidden"),
    [(0, COST, 0), (4, COST, -1), (4, (0.1, 0.0), 0), (4, (float("nan"),), 0)],
)
def test_a_gate_of_no_size_is_refused(features: int, cost: tuple[float, ...], hidden: int) -> None:
    with refused(ConfigError, "ADL-GAT-01", where="GateNetwork", remedy="positive costs"):
        GateNetwork(features, cost, scorer_hidden=hidden)


@pytest.mark.parametrize(
    ("features", "losses"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 3)),
        (torch.zeros(5, 4), torch.zeros(5, 2)),
        (torch.zeros(5, 4), torch.zeros(6, 3)),
        (torch.zeros(0, 4), torch.zeros(0, 3)),
        (torch.full((5, 4), float("nan")), torch.zeros(5, 3)),
    ],
)
def test_samples_that_do_not_fit_the_gate_are_refused(features: Tensor, losses: Tensor) -> None:
    with refused(ConfigError, "ADL-GAT-02", where="GateNetwork", remedy="(n, 4)"):
        fit_gate(GateNetwork(4, COST), features, losses)


@pytest.mark.parametrize("least", [1e-5, 0.3, 1.0, 7.0, 9.99])
def test_the_lowest_price_is_found_from_above(least: float) -> None:
    asked: list[float] = []

    def keeps(price: float) -> bool:
        asked.append(price)
        return price >= least

    for found in (lowest_price(keeps), lowest_price(keeps, highest=10.0, bisections=40)):
        assert found == pytest.approx(least)
        assert keeps(found)
    asked.clear()
    lowest_price(keeps, highest=10.0, bisections=3)
    assert len(asked) <= 3 + 5, "doubling and three halvings"


def test_where_no_price_keeps_the_budget_the_highest_comes_nearest() -> None:
    assert lowest_price(lambda price: False, highest=10.0) == 10.0
    assert lowest_price(lambda price: True) == 0.0
