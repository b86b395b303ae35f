"""One gate for all layers of a network, its scorers, and the budget that it keeps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from support.errors import refused
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel, BudgetManager, DynamicLowRankLayer
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.layers import Ranked
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import forward_levels, ranked_layers
from mapping.errors import ConfigError

CONFIG = MlpConfig(
    inputs=20, hidden=(16, 12), classes=4, levels=(2, 4, 8), dropout=0.0, level_bias=True
)


def adaptive(
    scorer: str = "confidence_probe", hidden: int = 0, **options: object
) -> tuple[AdaptiveModel, Tensor]:
    """A network whose gate spreads 300 samples over all levels at price 0."""
    torch.manual_seed(0)
    model = LowRankMLP(replace(CONFIG, **options)).eval()
    x = torch.randn(300, 20)
    with torch.no_grad():
        for part in ranked_layers(model).values():
            part.layer.level_bias.normal_(std=0.3)
            if part.layer.level_gain is not None:
                part.layer.level_gain.uniform_(0.5, 1.5)
    made = AdaptiveModel(model, x, scorer=scorer, scorer_hidden=hidden)
    with torch.no_grad():
        features, _ = made.scorer.score(model, x)
        made.gate.weight.normal_()
        for gate in range(2):
            gains = made.gate.gains(features)[:, gate]
            made.gate.bias[gate] -= gains.quantile(0.4)
    return made, x


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("layer_levels", [None, ((3, 5, 8), (2, 3, 6))])
@pytest.mark.parametrize("scorer", SCORERS.names())
def test_every_sample_gets_the_outputs_of_its_level(
    scorer: str, layer_levels: tuple[tuple[int, ...], ...] | None, gain: bool
) -> None:
    made, x = adaptive(scorer, level_gain=gain, layer_levels=layer_levels)
    with torch.no_grad():
        outputs, levels = made(x)
        every = forward_levels(made.model, x)

    assert levels.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(outputs, every[levels, torch.arange(300)])
    expected = sum(made.energies_mj[int(level)] for level in levels) / 300
    assert made.spent_mj == pytest.approx(expected)
    again, same = made(x[:7])
    torch.testing.assert_close(again, outputs[:7])
    assert torch.equal(same, levels[:7])


@pytest.mark.parametrize("scorer", SCORERS.names())
def test_a_price_without_end_leaves_the_lowest_level(scorer: str) -> None:
    made, x = adaptive(scorer)
    outputs, levels = made(x, price=1e9)

    assert int(levels.max()) == 0
    torch.testing.assert_close(outputs, forward_levels(made.model, x, (0,))[0])
    assert made.spent_mj == pytest.approx(made.energies_mj[0])


@pytest.mark.parametrize("gain", [False, True])
def test_samples_cost_what_their_levels_cost(gain: bool) -> None:
    """With a probe: the lowest level for all, and for those above it a run at their level, from
    the first block on that the probe left, with what came out of it if that has no gain.
    """
    made, x = adaptive(level_gain=gain)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _, levels = made(x)
    of_rank = [r * (20 + 16) + r * (16 + 12) + 12 * 4 for r in CONFIG.levels]
    known = CONFIG.levels[0] * (20 + (0 if gain else 16))
    runs = len(x) * of_rank[0] + sum(of_rank[int(level)] - known for level in levels if level > 0)
    gate = len(x) * made.gate.weight.numel()
    assert counter.get_total_flops() // 2 == runs + gate
    assert len(x) * sum(made.macs(x)[int(level)] for level in levels) / len(x) == runs + gate


def test_of_a_first_layer_that_runs_twice_only_the_first_call_is_known() -> None:
    torch.manual_seed(0)
    shared = Ranked(DynamicLowRankLayer(12, 12, levels=(2, 4, 8)))
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(12, 4)).eval()
    x = torch.randn(50, 12)
    made = AdaptiveModel(model, x)
    with torch.no_grad():
        made.gate.bias.copy_(torch.tensor([1.0, -1.0]))
        outputs, levels = made(x)
        assert levels.unique().tolist() == [1]
        torch.testing.assert_close(outputs, forward_levels(model, x, (1,))[0])


def test_the_first_block_is_computed_once() -> None:
    made, x = adaptive("first_block")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _, levels = made(x)
    ranks = torch.tensor(CONFIG.levels)[levels]
    runs = int(ranks.sum()) * (20 + 16 + 16 + 12) + len(x) * (12 * 4 + made.gate.weight.numel())
    assert counter.get_total_flops() // 2 == runs


def test_a_fitted_gate_spends_where_it_helps() -> None:
    """On digits: at one budget it is right more often than the same levels at random."""
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    x, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
    model = LowRankMLP(MlpConfig(inputs=64, hidden=(64, 32), classes=10, levels=(1, 2, 16)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = sum(
            F.cross_entropy(logits, labels[:900]) for logits in model.forward_levels(x[:900])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = AdaptiveModel(model.eval(), x)
    made.fit(x[900:1300], labels[900:1300])
    budget = (made.energies_mj[0] + made.energies_mj[2]) / 2
    price = made.price_for(budget, x[900:1300])
    with torch.no_grad():
        outputs, levels = made(x[1300:], price=price)
        every = forward_levels(made.model, x[1300:])

    assert made.spent_mj == pytest.approx(budget, rel=0.1)
    right = float((outputs.argmax(dim=-1) == labels[1300:]).float().mean())
    shuffled = levels[torch.randperm(len(levels))]
    at_random = every[shuffled, torch.arange(len(levels))].argmax(dim=-1)
    assert right > float((at_random == labels[1300:]).float().mean()) + 0.03


def test_a_model_can_be_saved_loaded_and_copied() -> None:
    made, x = adaptive()
    other, _ = adaptive()
    with torch.no_grad():
        other.gate.weight.zero_()
    other.load_state_dict(made.state_dict())
    for twin in (other, copy.deepcopy(made)):
        assert torch.equal(twin(x)[1], made(x)[1])


def test_statistics_of_whole_numbers_are_those_of_equal_floats() -> None:
    scorer, x = SCORERS.get("input_statistics")(), torch.randint(9, (5, 20))
    features, outputs = scorer.score(nn.Identity(), x)
    assert outputs is None
    assert torch.equal(features, scorer.score(nn.Identity(), x.float())[0])


def test_an_unknown_scorer_names_those_that_exist() -> None:
    with refused(ConfigError, "ADL-CFG-01", where="scorer", remedy="confidence_probe"):
        AdaptiveModel(LowRankMLP(CONFIG), torch.randn(1, 20), scorer="confidence")


def per_layer_gates() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        Ranked(DynamicLowRankLayer(20, 30, levels=(2, 4, 8))),
        nn.ReLU(),
        Ranked(DynamicLowRankLayer(30, 10, levels=(2, 5))),
    )
    with torch.no_grad():
        for ranked in (model[0], model[2]):
            ranked.layer.gate.weight.normal_(0.0, 0.5)
            ranked.layer.gate.bias.zero_()
    return model.eval()


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("one_gate", [True, False])
def test_a_budget_that_changes_is_kept(calibrated: bool, one_gate: bool) -> None:
    """Sample by sample: within 50 of a change the mean of the next 1,000 is within 2 %."""
    model = adaptive()[0] if one_gate else per_layer_gates()
    x = torch.randn(3000, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), BudgetManager(model, 1e-12) as manager:
        lowest = spent_mj(manager, model, x[:300].split(30)[5:])
        manager.budget_mj = 1e3
        top = spent_mj(manager, model, x[:300].split(30))
    with torch.no_grad(), BudgetManager(model, top) as manager:
        if calibrated:
            manager.calibrate(x[2000:])
        for share in (0.3, 0.7):
            manager.budget_mj = lowest + share * (top - lowest)
            settling = 50 if calibrated else 300
            spent_mj(manager, model, x[:settling].split(1))
            spent = spent_mj(manager, model, x[settling : settling + 1000].split(1))
            assert spent == pytest.approx(manager.budget_mj, rel=0.02)


def spent_mj(manager: BudgetManager, model: nn.Module, batches: Sequence[Tensor]) -> float:
    """Mean per sample of ``batches``."""
    before = manager.report()
    for batch in batches:
        model(batch)
    after = manager.report()
    assert after.samples - before.samples == sum(map(len, batches))
    return (after.spent_mj - before.spent_mj) / (after.samples - before.samples)


def test_the_report_adds_up_by_layer() -> None:
    model = per_layer_gates()
    x = torch.randn(40, 20)
    with torch.no_grad(), BudgetManager(model, 1e-6) as manager:
        for batch in x.split(10):
            model(batch)
        report = manager.report()
        ranks = model[0].chosen, model[2].chosen
    assert report.samples == 40
    assert report.left_mj == pytest.approx(40 * 1e-6 - report.spent_mj)
    assert report.spent_mj == pytest.approx(sum(report.by_layer_mj.values()))
    assert list(report.by_layer_mj) == ["0", "2"]
    assert report.price_per_mj > 0
    assert all(rank is not None for rank in ranks)


def test_one_price_buys_the_same_gain_in_every_layer() -> None:
    model = per_layer_gates()
    x = torch.randn(200, 20)
    with torch.no_grad(), BudgetManager(model, 1e-6) as manager:
        price = manager.price_per_mj
        model(x)
        layer = model[0].layer
        steps = torch.tensor(list(layer.energies_mj.values())).diff()
        expected = (layer.gate.gains(layer.features(x)) > price * steps).long()
        levels = expected.cumprod(dim=-1).sum(dim=-1)
    assert torch.equal(torch.tensor(layer.levels)[levels], model[0].chosen)


def test_a_closed_manager_leaves_the_gates_their_own_price() -> None:
    model = per_layer_gates()
    x = torch.randn(50, 20)
    free = model(x)
    with BudgetManager(model, 1e-9) as manager:
        model(x)
    torch.testing.assert_close(model(x), free)
    assert manager.report().samples == 50


def test_a_calibration_that_fails_leaves_the_manager_listening() -> None:
    with torch.no_grad(), BudgetManager(per_layer_gates(), 1e-6) as manager:
        with pytest.raises(ConfigError):
            manager.calibrate(torch.randn(5, 19))
        manager._model(torch.randn(5, 20))
        assert manager.report().samples == 5


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_must_be_positive(budget: float) -> None:
    with refused(ConfigError, "ADL-BUD-04", where="budget_mj", remedy="mJ"):
        BudgetManager(per_layer_gates(), budget)
