"""The recipe's parts, one changed at a time, on the digits in little."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.errors import refused

from adlrns_neuro.config import parse_config, with_settings
from adlrns_neuro.experiments import ablation
from adlrns_neuro.experiments.ablation import SETTINGS
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.models.registry import MODELS
from mapping.errors import ConfigError

CONFIG = parse_config(
    {
        "data": {"set": "digits", "held_out_share": 0.3},
        "model": {"type": "adlrns_mlp", "hidden": [32, 32], "levels": [2, 8]},
        "train": {"batch_size": 64, "epochs": 1, "teacher_epochs": 8, "lr": 5e-3},
    }
)


def test_every_setting_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: SETTINGS[name] for name in ("default", ablation.PLAIN, ablation.JOINT)}
    monkeypatch.setattr(ablation, "SETTINGS", few)
    found = ablation.ablation(CONFIG, tmp_path, (900, 1500), progress=False)

    assert found["dense"] > 0.8
    assert list(found["settings"]) == list(few)
    for figures in found["settings"].values():
        assert list(figures["levels"]) == list(figures["untrained"]) == ["2", "8"]
        assert set(figures["budgets"]) == set(SCORERS.names())
        assert 0.5 < figures["stacked"] <= 1.0
    gated = found["settings"][ablation.JOINT]["gated"]
    assert [point["macs"] for point in gated] == sorted((p["macs"] for p in gated), reverse=True)
    default = found["settings"]["default"]
    assert default["gated"] is None
    assert default["untrained"] == found["settings"][ablation.JOINT]["untrained"]
    assert default["untrained"] != found["settings"][ablation.PLAIN]["untrained"]


@pytest.mark.parametrize("levels", [{"levels": [2, 8]}, {}])
def test_every_setting_suits_two_layers(levels: dict[str, object]) -> None:
    config = parse_config({"model": {"hidden": [64, 64], **levels}})
    for name, settings in SETTINGS.items():
        ranks = with_settings(config, settings).model.ranks
        if "levels" in name:
            assert len(ranks) == {"two levels": 2, "seven levels": 7}[name]


def test_a_network_that_settings_do_not_suit_is_refused_before_it_is_trained(
    tmp_path: Path,
) -> None:
    with refused(ConfigError, "ADL-YML-03", message="2 lists for 1 hidden layers"):
        ablation.ablation(with_settings(CONFIG, {"model.hidden": (32,)}), tmp_path, (900,))
    assert not list(tmp_path.iterdir())


def test_plain_factors_approach_the_weights_themselves() -> None:
    family, inputs = MODELS.get("adlrns_mlp"), torch.rand(300, 64)
    torch.manual_seed(0)
    dense = family.dense(CONFIG, inputs, 10)
    model = family.ranked(dense, CONFIG, inputs, ablation.PerfEstimator())
    whitened = error(model, dense)
    ablation._load_plain(model, dense)
    assert error(model, dense) < whitened


def error(model: torch.nn.Module, dense: torch.nn.Module) -> float:
    """Of the first layer's factors as a matrix."""
    layer = next(iter(ablation.ranked_layers(model).values())).layer
    return float((layer.U @ layer.V.T - dense.hidden[0].weight).detach().norm())
