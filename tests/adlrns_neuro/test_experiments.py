"""Whole experiments: figures, files, sweeps, and the program that runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.errors import refused
from support.training import model, samples
from torch.utils.data import DataLoader, TensorDataset

from adlrns_neuro.config import ExperimentConfig, SchedulerConfig, load_config, parse_config
from adlrns_neuro.experiments.measure import at_price, by_level, by_price, measured, under_budget
from adlrns_neuro.experiments.run import arranged_splits, result_path, run_experiment
from adlrns_neuro.experiments.sweep import Run, combinations, parse_settings, sweep
from adlrns_neuro.models.registry import MODELS
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.ranks import forward_levels, ranked_layers
from adlrns_neuro.trainer import ADLRNSTrainer
from mapping.errors import ConfigError, MissingDependencyError

EXPERIMENTS = Path(__file__).parents[2] / "examples" / "experiments"
SMALL = {
    "name": "small",
    "data": {"held_out_share": 0.2},
    "model": {"hidden": [24], "levels": [2, 4, 8]},
    "train": {"epochs": 3, "batch_size": 128, "lr": 1e-2},
    "scheduler": {"type": "adaptive", "energy_budget_mJ_per_sample": 5e-5},
}


def small() -> ExperimentConfig:
    return parse_config(SMALL)


def run(folder: Path, *, resume: bool = False) -> dict[str, Any]:
    folders = (folder / "save", folder / "results")
    return run_experiment(small(), *folders, device="cpu", resume=resume, progress=False)


def test_an_experiment_ends_in_figures_on_disk(tmp_path: Path) -> None:
    result = run(tmp_path)
    path = result_path(small(), tmp_path / "results")
    assert json.loads(path.read_text()) == json.loads(json.dumps(result))
    assert parse_config(result["config"]).as_dict() == small().as_dict()
    assert result["samples"] == {"train": 1149, "held_out": 288, "test": 360}

    assert result["dense"]["macs"] == 64 * 24 + 24 * 10
    assert result["dense"]["energy_mj"] is None
    assert [level["rank"] for level in result["levels"]] == [2, 4, 8]
    assert [level["macs"] for level in result["levels"]] == [r * 88 + 240 for r in (2, 4, 8)]
    energies = PerfEstimator().energies_mj(64, 24, (2, 4, 8))
    assert [level["energy_mj"] for level in result["levels"]] == pytest.approx([*energies.values()])
    assert result["levels"][-1]["accuracy"] > 0.8
    spent = [gated["energy_mj"] for gated in result["gated"]]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[-1]
    with refused(ConfigError, "ADL-RUN-01", where=str(path), remedy="--resume"):
        run(tmp_path)
    assert run(tmp_path, resume=True) == result


def test_the_founding_keys_train(tmp_path: Path) -> None:
    config = parse_config(
        {
            "model": {
                **{"type": "adlrns_mlp", "r_min": 4, "r_max": 64},
                **{"scorer_hidden": 32, "num_gate_blocks": 4},
            },
            "train": {"batch_size": 64, "epochs": 1, "lr": 1e-3, "energy_penalty_weight": 0.1},
            "scheduler": {
                **{"type": "energy_aware", "energy_budget_mJ_per_sample": 5e-3},
                **{"alpha": 0.6, "beta": 0.4},
            },
            "hardware": {"gpu_type": "V100", "flops_per_mac": 2, "energy_per_flop": 1e-12},
        }
    )
    folders = (tmp_path / "save", tmp_path / "results")
    result = run_experiment(config, *folders, device="cpu", progress=False)
    assert [level["rank"] for level in result["levels"]] == [4, 8, 16, 32, 64]
    assert result["levels"][-1]["accuracy"] > 0.8
    assert 0 < result["budget"]["energy_mj"] <= result["budget"]["budget_mj"] == 5e-3


def test_options_reach_the_loader() -> None:
    family = MODELS.get("adlrns_mlp")
    with refused(ConfigError, "ADL-DAT-03", where="digits", message="frames"):
        arranged_splits(parse_config({"data": {"set": "digits", "options": {"frames": 3}}}), family)


def test_factors_of_full_rank_compute_what_the_dense_network_does() -> None:
    family = MODELS.get("adlrns_mlp")
    model = {"hidden": [24, 12], "levels": [3, 12], "level_bias": True}
    config = parse_config({"model": model})
    samples = torch.randn(200, 3, 4).numpy()
    inputs = family.arranger(config, samples)(samples)
    dense = family.dense(config, inputs, 5).eval()
    ranked = family.ranked(dense, config, inputs, PerfEstimator()).eval()
    both = forward_levels(ranked, inputs)
    assert torch.allclose(both[1], dense(inputs), atol=1e-4)
    assert not torch.allclose(both[0], dense(inputs), atol=1e-2)


def test_a_residual_network_trains_at_all_levels(tmp_path: Path) -> None:
    """Images whose brightest colour is their class, rows last as some files have them."""
    torch.manual_seed(0)
    labels = torch.arange(96) % 3
    images = torch.randn(96, 8, 8, 3) + 2.0 * torch.eye(3)[labels][:, None, None]
    family = MODELS.get("adlrns_resnet")
    keys = {"type": "adlrns_resnet", "depth": 8, "levels": [2, 4, 8]}
    config = parse_config({"model": keys, "train": {"epochs": 5, "batch_size": 16, "lr": 1e-2}})
    arranged = family.arranger(config, images.numpy())
    inputs = arranged(images.numpy())
    assert inputs.shape == (96, 3, 8, 8)
    assert torch.equal(arranged(images.permute(0, 3, 1, 2).numpy()), inputs)
    assert float(inputs.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(inputs.std(correction=0)) == pytest.approx(1.0)
    dense = family.dense(config, inputs, 3).eval()
    ranked = family.ranked(dense, config, inputs, PerfEstimator())
    loader = DataLoader(TensorDataset(inputs, labels), 16)
    trainer = ADLRNSTrainer(ranked, config, "cpu", tmp_path, progress=False)
    trainer.train(loader, loader)

    found = by_level(ranked, inputs, labels)
    assert [level.macs for level in found] == sorted(level.macs for level in found)
    assert min(level.accuracy for level in found) > 0.5


def fitted() -> torch.nn.Module:
    """Gates that decide differently for different samples."""
    made = model()
    with torch.no_grad():
        for part in ranked_layers(made).values():
            part.layer.gate.weight.normal_()
    return made


def test_prices_are_put_back() -> None:
    made = fitted()
    gates = [part.layer.gate for part in ranked_layers(made).values()]
    with at_price(made, 2.5):
        assert all(gate.price == 2.5 for gate in gates)
    assert all(gate.price == 0.0 for gate in gates)


def test_a_budget_is_kept_by_price_or_by_a_cap() -> None:
    made, (inputs, labels) = fitted(), samples(800)
    energies = [level.energy_mj for level in by_level(made, inputs, labels)]
    assert energies == sorted(energies)
    budget = (energies[1] + energies[2]) / 2

    def under(type_: str) -> float:
        scheduler = SchedulerConfig(type=type_, energy_budget_mj=budget)
        found = under_budget(made, scheduler, inputs, inputs, labels).energy_mj
        assert found is not None
        return found

    free = measured(made, inputs, labels).energy_mj
    assert 0.8 * budget < under("adaptive") <= budget
    assert energies[0] < under("energy_aware") <= energies[1]
    assert under("fixed") == under("linear") == free
    assert all(part.scheduler is None for part in ranked_layers(made).values())
    assert by_price(made, inputs, labels)[0.0].energy_mj == free


def test_combinations_of_seeds_and_settings() -> None:
    found = combinations(small(), [0, 1], {"train.lr": [1e-2, 1e-3], "model.levels": [[2, 4]]})
    assert [(c.seed, c.train.lr) for c in found] == [(0, 1e-2), (0, 1e-3), (1, 1e-2), (1, 1e-3)]
    assert all(c.model.ranks == (2, 4) for c in found)
    assert len({result_path(c, Path()) for c in found}) == 4
    with refused(ConfigError, "ADL-SWP-01", message="1 of 2 runs", remedy="once"):
        combinations(small(), [3, 3], {})


def runs_of(folder: Path, seeds: list[int]) -> list[Run]:
    return [
        Run(
            config=one,
            save_dir=folder / f"save{one.seed}",
            results_dir=folder / "results",
            device="cpu",
            command="",
            resume=False,
        )
        for one in combinations(small(), seeds, {})
    ]


@pytest.mark.slow
def test_a_sweep_runs_all_and_reports_what_is_refused(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone")
    runs = runs_of(tmp_path, [0, 1])
    path = result_path(runs[1].config, tmp_path / "results")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    outcomes = {o.run.config.seed: o for o in sweep(runs, cluster=None, workers=2)}
    assert outcomes[0].error is None
    assert outcomes[0].result == alone
    assert outcomes[1].result is None
    assert "ADL-RUN-01" in str(outcomes[1].error)


def test_a_cluster_that_does_not_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adlrns_neuro.experiments.sweep.CONNECT_S", 0.2)
    with refused(ConfigError, "ADL-SWP-03", message="tcp://127.0.0.1:1", remedy="dask scheduler"):
        list(sweep(runs_of(tmp_path, [0]), cluster="tcp://127.0.0.1:1", workers=1))


def test_a_sweep_without_dask_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with refused(MissingDependencyError, "ADL-SWP-02", remedy="adlrns[sweep]"):
        list(sweep(runs_of(tmp_path, [0]), cluster=None, workers=1))


def test_a_sweep_in_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused(ConfigError, "ADL-SWP-05", message="each of 2", remedy="--workers"):
        list(sweep(runs_of(tmp_path, [0]), cluster=None, workers=1))


def test_a_setting_without_a_value_is_refused() -> None:
    assert parse_settings(["a.b=1e-3", "a.b=2", "c=[1]"]) == {"a.b": [1e-3, 2], "c": [[1]]}
    with refused(ConfigError, "ADL-SWP-04", where="--set", message="train.lr"):
        parse_settings(["train.lr"])


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_are_shipped_load(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert config.model.type in MODELS.names()


def test_the_script_runs_an_experiment_and_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "model: {hidden: [16], levels: [2, 4]}\ntrain: {epochs: 1, batch_size: 256}\n"
    )
    command = ["bash", str(EXPERIMENTS / "run_exp.sh"), "--config", "tiny.yaml"]
    command += ["--save_dir", "save", "--data_dir", "unused", "--gpu", "-1"]

    def start() -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(EXPERIMENTS.parents[1])}
        path = f"{Path(sys.executable).parent}:{environment['PATH']}"
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    first = start()
    assert first.returncode == 0, first.stderr
    assert "rank    2" in first.stdout
    (written,) = (tmp_path / "results" / "tiny").glob("*.json")
    assert json.loads(written.read_text())["command"].endswith("--gpu -1")
    again = start()
    assert again.returncode == 2
    assert "ADL-RUN-01" in again.stderr
    assert "Traceback" not in again.stderr
