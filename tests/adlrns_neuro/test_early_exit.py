"""Perceptrons that answer from their first layer at the lowest level."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.errors import refused
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel, BudgetManager
from adlrns_neuro.config import parse_config
from adlrns_neuro.experiments.measure import by_level
from adlrns_neuro.experiments.run import run_experiment
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import at_level, energies_mj, ranked_layers
from mapping.errors import ConfigError

CONFIG = MlpConfig(
    inputs=20,
    hidden=(16, 12, 10),
    classes=5,
    levels=(2, 4, 8),
    early_exit=True,
    dropout=0.0,
    level_bias=True,
)
SAMPLES = 60


def perceptron() -> tuple[LowRankMLP, Tensor]:
    """In evaluation mode, with biases that tell levels apart and gates that choose all of them."""
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    x = torch.randn(SAMPLES, 20)
    with torch.no_grad():
        value = x
        for part in ranked_layers(model).values():
            part.layer.level_bias.normal_(std=0.3)
            gate = part.layer.gate
            gate.weight.copy_(torch.randn(1, 2))
            gains = gate.gains(part.layer.features(value))[:, 0]
            gate.bias -= gains.quantile(torch.tensor([0.4, 0.7]))
            value = torch.relu(part.layer.at_rank(value, 8))
    return model, x


def answers(model: LowRankMLP, x: Tensor) -> Tensor:
    """Logits at each level by the equation, shape (3, n, 5)."""
    assert model.exit_head is not None
    found = []
    for level, rank in enumerate(CONFIG.levels):
        value = x
        for part in ranked_layers(model).values():
            value = torch.relu(part.layer.at_rank(value, rank))
            if level == 0:
                break
        found.append((model.head if level else model.exit_head)(value))
    return torch.stack(found)


@pytest.mark.parametrize("gradients", [False, True])
def test_the_lowest_level_is_the_first_layer_alone(gradients: bool) -> None:
    model, x = perceptron()
    with torch.set_grad_enabled(gradients):
        right = answers(model, x)
        torch.testing.assert_close(model.forward_levels(x), right)
        torch.testing.assert_close(model.forward_levels(x, (2, 0)), right[[2, 0]])
        torch.testing.assert_close(model.forward_levels(x, (0,)), right[:1])
        torch.testing.assert_close(model.forward_levels(x, (1, 2)), right[1:])
        mixed = torch.arange(SAMPLES) % 3
        for level in (0, 1, 2, mixed, mixed.clamp(min=1), mixed.clamp(max=0)):
            with at_level(model, level):
                levels = torch.as_tensor(level).expand(SAMPLES)
                expected = right[levels, torch.arange(SAMPLES)]
                torch.testing.assert_close(model(x), expected)


@torch.no_grad()
def test_samples_along_several_axes() -> None:
    model, x = perceptron()
    right, each = answers(model, x), torch.arange(SAMPLES) % 3
    for level in (0, 2, each[:4], each.reshape(4, 15)):
        with at_level(model, level):
            outputs = model(x.reshape(4, 15, 20))
        levels = torch.as_tensor(level)
        aligned = levels.reshape(*levels.shape, *[1] * (2 - levels.ndim)).expand(4, 15)
        expected = right[aligned.flatten(), torch.arange(SAMPLES)]
        torch.testing.assert_close(outputs, expected.reshape(4, 15, 5))
    torch.testing.assert_close(model(x.reshape(4, 15, 20)), model(x).reshape(4, 15, 5))
    assert model(x[:0]).shape == (0, 5)


@torch.no_grad()
def test_samples_whose_first_gate_stays_at_the_lowest_level_leave() -> None:
    model, x = perceptron()
    outputs = model(x)
    first, second, third = (part.chosen for part in model.hidden)
    assert set(first.tolist()) == {2, 4, 8}
    leaves = first == 2
    for others in (second, third):
        assert not others[leaves].any()
        assert set(others[~leaves].tolist()) <= {2, 4, 8}
    torch.testing.assert_close(outputs[leaves], answers(model, x)[0][leaves])
    value = x
    for part in ranked_layers(model).values():
        ranks = part.chosen.clamp(min=2)
        each = torch.stack([part.layer.at_rank(value, rank) for rank in CONFIG.levels])
        which = torch.searchsorted(torch.tensor(CONFIG.levels), ranks)
        value = torch.relu(each[which, torch.arange(SAMPLES)])
    torch.testing.assert_close(outputs[~leaves], model.head(value)[~leaves])

    for part in model.hidden:
        part.layer.gate.price.fill_(1e9)
    torch.testing.assert_close(model(x), answers(model, x)[0])
    assert [int(part.chosen.sum()) for part in model.hidden] == [2 * SAMPLES, 0, 0]


@torch.no_grad()
def test_what_is_left_out_costs_nothing() -> None:
    model, x = perceptron()
    parts = [part.energies_mj for part in model.hidden]
    energies = energies_mj(model)
    assert energies[0] == parts[0][0]
    assert energies[1:] == pytest.approx([sum(part[k] for part in parts) for k in (1, 2)])
    figures = by_level(model, x, torch.zeros(SAMPLES, dtype=torch.int64))
    of_rank = [r * (20 + 16 + 16 + 12 + 12 + 10) + 10 * 5 for r in CONFIG.levels]
    assert [one.macs for one in figures] == [2 * (20 + 16) + 16 * 5, *of_rank[1:]]
    assert [one.energy_mj for one in figures] == pytest.approx(energies)

    with BudgetManager(model, 1e-6) as manager:
        model(x)
        report = manager.report()
    spent = 0.0
    for part in model.hidden:
        for rank, energy in zip(CONFIG.levels, part.energies_mj, strict=True):
            spent += float((part.chosen == rank).sum()) * energy
    assert report.spent_mj == pytest.approx(spent)


@torch.no_grad()
@pytest.mark.parametrize("scorer", SCORERS.names())
def test_one_gate_for_the_network_sends_samples_out(scorer: str) -> None:
    model, x = perceptron()
    made = AdaptiveModel(model, x, scorer=scorer).eval()
    features, _ = made.scorer.score(model, x)
    made.gate.weight.copy_(torch.randn_like(made.gate.weight[:1]))
    gains = made.gate.gains(features)[:, 0]
    made.gate.bias -= gains.quantile(torch.tensor([0.4, 0.7]))
    made.probe_weights.copy_(torch.tensor([0.0, 0.5, 0.7]))
    with FlopCounterMode(display=False) as counter:
        outputs, levels = made(x)
    right = answers(model, x)
    counts = made.probe_weights[levels][:, None] * made.scorer.probes
    expected = right[levels, torch.arange(SAMPLES)] + counts * right[0]
    assert levels.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(outputs, expected)
    assert counter.get_total_flops() == 2 * int(torch.tensor(made.macs(x))[levels].sum())


@pytest.mark.parametrize("changes", [{"hidden": (16,)}, {"levels": (4,)}])
def test_an_exit_that_leaves_nothing_out_is_refused(changes: dict[str, tuple[int, ...]]) -> None:
    with refused(ConfigError, "ADL-LAY-01", where="MlpConfig.early_exit", remedy="two levels"):
        replace(CONFIG, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {"type": "adlrns_resnet"}}, "early_exit is for adlrns_mlp"),
        ({"model": {"hidden": [32]}}, "nothing out of 1 hidden layers"),
        ({"model": {"levels": [4]}}, "at 1 levels"),
        ({"train": {"energy_penalty_weight": 0.1}}, "fit them afterwards"),
    ],
)
def test_keys_that_contradict_an_exit_are_refused(
    keys: dict[str, dict[str, object]], message: str
) -> None:
    model = {"early_exit": True, **keys.get("model", {})}
    with refused(ConfigError, "ADL-YML-03", message=message):
        parse_config(keys | {"model": model})


def test_an_experiment_with_an_exit_trains(tmp_path: Path) -> None:
    config = parse_config(
        {
            "data": {"set": "digits", "held_out_share": 0.2},
            "model": {"hidden": [32, 32], "levels": [4, 8], "early_exit": True},
            "train": {"batch_size": 64, "epochs": 12, "teacher_epochs": 12, "lr": 5e-3},
        }
    )
    found = run_experiment(config, tmp_path / "w", tmp_path / "r", device="cpu", progress=False)
    low, high = found["levels"]
    assert low["macs"] == 4 * (64 + 32) + 32 * 10
    assert 0.8 < low["accuracy"] <= high["accuracy"] + 0.02
