"""Configurations: what loads, and what is refused with which hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.errors import refused

from adlrns_neuro.config import ModelConfig, load_config, parse_config, with_settings
from adlrns_neuro.yaml_file import parse_value
from mapping.errors import ConfigError, TargetError

FOUNDING = """
model: {type: adlrns_mlp, r_min: 4, r_max: 64, scorer_hidden: 32, num_gate_blocks: 4}
train: {batch_size: 64, epochs: 10, lr: 1e-3, energy_penalty_weight: 0.1}
scheduler: {type: energy_aware, energy_budget_mJ_per_sample: 5.0, alpha: 0.6, beta: 0.4}
hardware: {gpu_type: V100, flops_per_mac: 2, energy_per_flop: 1.0e-12}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_the_founding_keys_load(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, FOUNDING))
    assert config.name == "mine"
    assert config.model.ranks == (4, 8, 16, 32, 64)
    assert config.model.scorer_hidden == 32
    assert (config.train.lr, config.train.energy_penalty_weight) == (1e-3, 0.1)
    assert config.scheduler.energy_budget_mj == 5.0
    assert (config.scheduler.alpha, config.scheduler.beta) == (0.6, 0.4)
    profile = config.hardware.profile
    assert profile.name == "v100"
    assert profile.energy_per_op_j["fp32"].value == 1e-12
    assert profile.energy_per_op_j["fp32"].status == "assumed"
    assert parse_config(config.as_dict()) == config


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, ""))
    assert config == parse_config({"name": "mine"})
    assert config.hardware.profile.energy_per_op_j["fp32"].status != "assumed"


@pytest.mark.parametrize(
    ("model", "ranks"),
    [
        ({"r_min": 16, "r_max": 100}, (16, 32, 64, 100)),
        ({"r_min": 16, "r_max": 64, "num_gate_blocks": 4}, (16, 23, 32, 45, 64)),
        ({"r_min": 8, "r_max": 64, "num_gate_blocks": 1}, (8, 64)),
        ({"levels": (3, 5, 6)}, (3, 5, 6)),
        ({"levels": (3, 5, 6), "r_max": 6, "num_gate_blocks": 2}, (3, 5, 6)),
        ({"layer_levels": ((3, 5, 6), (2, 3, 4)), "r_min": 3}, (3, 5, 6)),
        ({"r_min": 8, "r_max": 8}, (8,)),
    ],
)
def test_levels(model: dict[str, Any], ranks: tuple[int, ...]) -> None:
    assert ModelConfig(**model).ranks == ranks


@pytest.mark.parametrize(
    ("keys", "where", "remedy"),
    [
        ({"model": {"rmin": 3}}, "model.rmin", "did you mean 'r_min'?"),
        ({"modle": {}}, "modle", "did you mean 'model'?"),
        ({"model": {"lr": 1}}, "model.lr", "it belongs into 'train'"),
        ({"model": {"xyzzy": 1}}, "model.xyzzy", "choose one of: type, r_min"),
        (
            {"scheduler": {"energy_budget_mJ": 1.0}},
            "scheduler.energy_budget_mJ",
            "did you mean 'energy_budget_mJ_per_sample'?",
        ),
    ],
)
def test_unknown_keys_are_refused(keys: dict[str, Any], where: str, remedy: str) -> None:
    with refused(ConfigError, "ADL-YML-02", where=where, remedy=remedy):
        parse_config(keys)


@pytest.mark.parametrize(
    ("keys", "where", "message"),
    [
        ({"train": {"lr": "fast"}}, "train.lr", "valid number (given: 'fast')"),
        ({"train": {"epochs": 0}}, "train.epochs", "greater than or equal to 1"),
        ({"train": {"epochs": True}}, "train.epochs", "valid integer"),
        ({"train": 3}, "train", "valid dictionary"),
        ({"model": {"levels": [4.0]}}, "model.levels.0", "valid integer"),
        ({"model": {"levels": [4, 2]}}, "model", "do not ascend"),
        ({"model": {"layer_levels": [[2, 4], [4, 2]]}}, "model", "[4, 2] do not ascend"),
        ({"model": {"layer_levels": [[2, 4]]}}, "model", "1 lists for 2 hidden layers"),
        ({"model": {"layer_levels": [[2, 4], [2, 4, 8]]}}, "model", "more levels for some"),
        ({"model": {"layer_levels": [[2], []]}}, "model.layer_levels.1", "at least 1"),
        ({"model": {"layer_levels": [[2], [2]], "levels": [2]}}, "model", "levels beside"),
        ({"model": {"layer_levels": [[2], [2]], "r_max": 3}}, "model", "r_max 3 contradicts"),
        (
            {"model": {"layer_levels": [[2], [2]], "type": "adlrns_resnet"}},
            "model",
            "not for adlrns_resnet",
        ),
        ({"model": {"levels": [4, 8], "r_max": 9}}, "model", "r_max 9 contradicts"),
        ({"model": {"r_min": 9, "r_max": 8}}, "model", "above r_max"),
        ({"model": {"r_min": 4, "r_max": 5, "num_gate_blocks": 3}}, "model", "no room"),
        ({"scheduler": {"type": "adaptiv"}}, "scheduler", "adaptive, energy_aware"),
        ({"scheduler": {"alpha": 0.0, "beta": 0.0}}, "scheduler", "nothing has a cost"),
        ({"hardware": {"flops_per_mac": 1.0}}, "hardware", "no effect"),
        ({"name": "../up"}, "name", "match pattern"),
        ({"seed": 2**32}, "seed", "less than"),
        ({"model": {"snn": {"coding": "poisson"}}}, "model.snn.coding", "'rate'"),
        ({"model": {"snn": {"gate_decay": 1.5}}}, "model.snn.gate_decay", "less than"),
    ],
)
def test_wrong_values_are_refused(keys: dict[str, Any], where: str, message: str) -> None:
    with refused(ConfigError, "ADL-YML-03", where=f": {where}", message=message):
        parse_config(keys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("train: {lr: 1, lr: 2}", "'lr' stands twice"),
        ("train: [", "parsing"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("- 3", "holds list"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with refused(ConfigError, "ADL-YML-01", where="mine.yaml", message=message):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "ADL-YML-01", where="none.yaml", message="No such file"):
        load_config(tmp_path / "none.yaml")


def test_an_unknown_processor_is_refused() -> None:
    with refused(TargetError, "ADL-PRC-01"):
        _ = parse_config({"hardware": {"gpu_type": "abacus"}}).hardware.profile


def test_settings_change_keys() -> None:
    config = parse_config({"train": {"epochs": 3}})
    changed = with_settings(config, {"train.lr": 1e-2, "seed": 4, "model.levels": [2, 4]})
    assert (changed.train.lr, changed.train.epochs, changed.seed) == (1e-2, 3, 4)
    assert changed.model.ranks == (2, 4)
    with refused(ConfigError, "ADL-YML-02", where="settings: train.lrr", remedy="'lr'"):
        with_settings(config, {"train.lrr": 1})
    with refused(ConfigError, "ADL-YML-02", where="settings: seed.x"):
        with_settings(config, {"seed": 1, "seed.x": 2})


def test_a_spiking_network_has_a_section_of_its_own() -> None:
    keys = {"model": {"snn": {"coding": None, "steps": 4}}}
    config = with_settings(parse_config(keys), {"model.snn.open_at": 2})
    assert config.model.snn.coding is None
    assert (config.model.snn.steps, config.model.snn.open_at) == (4, 2)
    with refused(ConfigError, "ADL-YML-02", where="model.snn.stps", remedy="'steps'"):
        parse_config({"model": {"snn": {"stps": 4}}})


def test_values_are_read_as_in_a_file() -> None:
    assert parse_value("3e-3") == 3e-3
    assert parse_value("[16, 32]") == [16, 32]
    assert parse_value("digits") == "digits"
    with refused(ConfigError, "ADL-YML-01", where="settings", message="[16"):
        parse_value("[16")
