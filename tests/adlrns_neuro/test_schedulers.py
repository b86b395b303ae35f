from __future__ import annotations

import pytest
import torch
from support.errors import refused

from adlrns_neuro.layers import DynamicLowRankLayer
from adlrns_neuro.schedulers import POLICIES, RankScheduler
from mapping.errors import ConfigError

ENERGIES = {4: 1.0, 8: 2.0, 16: 4.0, 32: 8.0}


@pytest.mark.parametrize("name", POLICIES.names())
def test_every_policy_keeps_its_range_over_time(name: str) -> None:
    scheduler = RankScheduler(name, r_min=4, r_max=16)
    for call in range(200):
        limit = scheduler.limit(ENERGIES, 0.5 + call % 10)
        assert 4 <= limit.rank <= 16
        assert limit.price is None or limit.price > 0
        scheduler.observe(ENERGIES[16], 0.5 + call % 10)
        scheduler.step()


def test_fixed_is_always_the_same() -> None:
    assert RankScheduler("fixed", r_min=4, r_max=16).limit(ENERGIES).rank == 16
    assert RankScheduler("fixed", r_min=4, r_max=16, rank=8).limit(ENERGIES, 0.1).rank == 8


def test_linear_ramps_down_once() -> None:
    scheduler = RankScheduler("linear", r_min=4, r_max=16, steps=4)
    ranks = []
    for _ in range(6):
        ranks.append(scheduler.limit(ENERGIES).rank)
        scheduler.step()
    assert ranks == [16, 13, 10, 7, 4, 4]


@pytest.mark.parametrize(
    ("budget", "rank"), [(0.5, 4), (1.0, 4), (1.9, 4), (2.0, 8), (7.0, 16), (99.0, 16)]
)
def test_energy_aware_takes_the_largest_level_that_keeps_the_budget(
    budget: float, rank: int
) -> None:
    assert RankScheduler("energy_aware", r_min=4, r_max=16).limit(ENERGIES, budget).rank == rank


def gated_layer() -> DynamicLowRankLayer:
    generator = torch.Generator().manual_seed(0)
    layer = DynamicLowRankLayer(64, 32, r_min=2, r_max=32).eval()
    with torch.no_grad():
        layer.V.normal_(0.0, 0.1, generator=generator)
        layer.gate.weight.normal_(0.0, 0.3, generator=generator)
    return layer


def test_adaptive_follows_a_budget_that_changes() -> None:
    """Ten calls after each change the mean energy stays within 5 % of the budget."""
    generator = torch.Generator().manual_seed(0)
    layer, scheduler = gated_layer(), RankScheduler("adaptive", r_min=2, r_max=32)
    energies = list(layer.energies_mj.values())
    for share in (0.5, 0.2, 0.7):
        budget = energies[0] + share * (energies[-1] - energies[0])
        spent = []
        for _ in range(30):
            x = torch.randn(128, 64, generator=generator)
            _, ranks = layer(x, budget=budget, scheduler=scheduler)
            spent.append(sum(layer.energies_mj[int(rank)] for rank in ranks) / 128)
        assert sum(spent[10:]) / 20 == pytest.approx(budget, rel=0.05)


def test_adaptive_recovers_from_a_budget_out_of_reach() -> None:
    scheduler = RankScheduler("adaptive", r_min=2, r_max=32)
    for _ in range(1000):
        scheduler.observe(1.0, 0.001)
    stuck = scheduler.limit(ENERGIES, 1.0).price
    for _ in range(20):
        scheduler.observe(1.0, 2.0)
    freed = scheduler.limit(ENERGIES, 1.0).price
    assert stuck is not None
    assert freed is not None
    assert freed < stuck / 10


def test_an_unknown_scheduler_names_the_nearest() -> None:
    with refused(ConfigError, "ADL-CFG-01", where="rank scheduler", remedy="'energy_aware'"):
        RankScheduler("energy_awre", r_min=4, r_max=64)


@pytest.mark.parametrize(
    ("name", "arguments", "where"),
    [
        ("fixed", {"r_min": 0, "r_max": 4}, "RankScheduler"),
        ("adaptive", {"r_min": 8, "r_max": 4}, "RankScheduler"),
        ("fixed", {"r_min": 2, "r_max": 4, "rank": 5}, "RankScheduler.rank"),
        ("linear", {"r_min": 2, "r_max": 4, "steps": 0}, "RankScheduler.steps"),
    ],
)
def test_values_out_of_range_are_refused(name: str, arguments: dict[str, int], where: str) -> None:
    with refused(ConfigError, "ADL-SCH-01", where=where, remedy="choose"):
        RankScheduler(name, **arguments)


@pytest.mark.parametrize("name", ["energy_aware", "adaptive"])
@pytest.mark.parametrize("budget", [None, 0.0, -1.0, float("nan")])
def test_a_scheduler_that_needs_a_budget_says_so(name: str, budget: float | None) -> None:
    with refused(ConfigError, "ADL-SCH-02", message=name, remedy="budget="):
        RankScheduler(name, r_min=4, r_max=16).limit(ENERGIES, budget)


def test_an_option_of_another_policy_is_refused() -> None:
    with refused(ConfigError, "ADL-SCH-03", message="['rank']", remedy="steps"):
        RankScheduler("linear", r_min=4, r_max=16, rank=8)
    with refused(ConfigError, "ADL-SCH-03", remedy="none"):
        RankScheduler("energy_aware", r_min=4, r_max=16, rank=8)
