"""Spiking networks in experiments: what the family builds, trains and measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.errors import refused
from support.training import model as perceptron
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset, TensorDataset

from adlrns_neuro.adaptive import AdaptiveModel
from adlrns_neuro.budget import BudgetManager
from adlrns_neuro.config import ExperimentConfig, SchedulerConfig, parse_config
from adlrns_neuro.conversion import materialize
from adlrns_neuro.experiments.measure import by_level, measured, under_budget
from adlrns_neuro.experiments.run import run_experiment
from adlrns_neuro.models import LowRankSNN, RankedSnnClassifier, SnnConfig
from adlrns_neuro.models.registry import MODELS
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.ranks import at_level, energies_mj, forward_levels
from adlrns_neuro.schedulers import RankScheduler
from adlrns_neuro.trainer import ADLRNSTrainer, train_dense
from adlrns_neuro.training.objective import DenseObjective, NestedObjective
from mapping.errors import ConfigError

FAMILY = MODELS.get("adlrns_snn")
SIZES = SnnConfig(inputs=9, hidden=8, classes=4, levels=(2, 3, 6), steps=5)
KEYS: dict[str, Any] = {
    "name": "small",
    "data": {"held_out_share": 0.3},
    "model": {
        **{"type": "adlrns_snn", "hidden": [24], "levels": [2, 4, 8]},
        **{"snn": {"steps": 3, "open_at": 1, "logit_scale": 1.0}},
    },
    "train": {"epochs": 3, "teacher_epochs": 4, "batch_size": 64, "lr": 2e-2},
    "scheduler": {"type": "adaptive", "energy_budget_mJ_per_sample": 3e-4},
}


def config(**model: object) -> ExperimentConfig:
    keys = {name: section for name, section in KEYS.items() if name != "model"}
    return parse_config(keys | {"model": KEYS["model"] | model})


def classifier(open_at: int = 1) -> RankedSnnClassifier:
    """Random weights that make everything spike, and a gate that changes its mind."""
    network = LowRankSNN(SIZES).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2.5)
        gate = network.input_projection.gate
        gate.weight.copy_(torch.randn_like(gate.weight) * 2)
        gate.bias.copy_(torch.tensor([0.3, -0.2]))
    return RankedSnnClassifier(network, logit_scale=0.5, open_at=open_at)


def payloads(batch: int = 12) -> Tensor:
    """As a family arranges them: samples first, integers."""
    return torch.randint(0, SIZES.payload_max + 1, (batch, SIZES.steps, SIZES.inputs)).byte()


def in_the_network(inputs: Tensor) -> Tensor:
    return inputs.double().transpose(0, 1)


def test_levels_are_those_of_the_network() -> None:
    model, inputs = classifier(), payloads()
    every = forward_levels(model, inputs)
    trains = model.network.forward_levels(in_the_network(inputs), open_at=1)
    torch.testing.assert_close(every, 0.5 * trains.counts)
    assert len(every.unique(dim=0)) == 3
    for level in range(3):
        with at_level(model, level):
            torch.testing.assert_close(model(inputs), every[level])
    with at_level(model, 7):
        torch.testing.assert_close(model(inputs), every[2])
    chosen = torch.arange(12) % 4
    with at_level(model, chosen):
        mixed = model(inputs)
    torch.testing.assert_close(mixed, every[chosen.clamp(max=2), torch.arange(12)])
    torch.testing.assert_close(forward_levels(model, inputs, (2, 0)), every[[2, 0]])


def test_without_a_level_the_gate_decides_as_on_the_chip() -> None:
    model, inputs = classifier(), payloads()
    model.gate.price.fill_(0.1)
    logits = model(inputs)
    trains, levels = model.network.forward_gated(in_the_network(inputs), 0.1)
    assert torch.equal(logits, 0.5 * trains.counts)
    assert model.served is not None
    assert torch.equal(model.served, levels[: SIZES.steps])
    assert len(model.served.unique()) == 3
    assert torch.equal(model.features(inputs), model.network.gate_features(in_the_network(inputs)))


def test_energy_is_that_of_the_levels_in_their_steps() -> None:
    model, inputs = classifier(open_at=2), payloads()
    step = [*model.network.input_projection.energies_mj.values()]
    assert energies_mj(model) == pytest.approx([2 * step[0] + 3 * each for each in step])
    assert model.spent_mj == 0.0
    model(inputs)
    assert model.served is not None
    spent = torch.tensor(step)[model.served].sum(dim=0).mean()
    assert model.spent_mj == pytest.approx(float(spent))
    model(inputs[:0])
    assert model.spent_mj == model.synaptic_ops == 0.0


@torch.no_grad()
def test_synaptic_operations_are_counted_synapse_by_synapse() -> None:
    model, inputs = classifier(), payloads()
    layer = model.network.input_projection
    x = in_the_network(inputs)
    sent = (x != 0).double()

    def reached(served: Tensor, trains: Any) -> float:
        ranks = torch.tensor(SIZES.levels)[served]
        from_host = (sent.sum(dim=-1) * ranks).sum()
        z = (x * SIZES.payload_scale) @ layer.V
        relays = ((z != 0) & (torch.arange(6) < ranks[..., None])).sum()
        return float(from_host + relays * SIZES.hidden + trains.hidden.sum() * SIZES.classes) / 12

    with at_level(model, 1):
        model(inputs)
    served = (torch.arange(5) >= 1).long()[:, None].expand(-1, 12)
    assert model.synaptic_ops == reached(served, model.network(x, 3, open_at=1))
    with at_level(model, torch.arange(12) % 3):
        model(inputs)
        mixed = model.synaptic_ops
    parts = []
    for level in range(3):
        with at_level(model, level):
            model(inputs[level::3])
            parts.append(model.synaptic_ops)
    assert mixed == pytest.approx(sum(parts) / 3)
    model(inputs)
    trains, levels = model.network.forward_gated(x, 0.0)
    to_the_gate = float((x.sum(dim=-1) != 0).sum()) * 2 * 2 / 12
    assert model.synaptic_ops == pytest.approx(reached(levels[:5], trains) + to_the_gate)


def test_schedulers_cap_the_gate_and_budgets_price_it() -> None:
    model, inputs = classifier(), payloads(60)
    labels = torch.zeros(60, dtype=torch.int64)
    levels = [found.energy_mj for found in by_level(model, inputs, labels)]
    assert levels == pytest.approx([*model.energies_mj])
    model.scheduler = RankScheduler("fixed", r_min=2, r_max=6, rank=3)
    model(inputs)
    assert model.served is not None
    assert model.served.max() == 1
    model.scheduler = None
    free = measured(model, inputs, labels).energy_mj
    assert free is not None
    budget = (levels[0] + free) / 2
    scheduler = SchedulerConfig(type="adaptive", energy_budget_mj=budget)
    spent = under_budget(model, scheduler, inputs, inputs, labels).energy_mj
    assert spent is not None
    assert 0.8 * budget < spent <= budget
    with BudgetManager(model, budget) as manager:
        manager.calibrate(inputs)
        model(inputs)
        assert manager.report().spent_mj / 60 == pytest.approx(budget, rel=0.2)
    assert model.price_per_mj is None


def test_one_gate_from_outside_sets_the_level_of_each_sample() -> None:
    model, inputs = classifier(), payloads(60)
    adaptive = AdaptiveModel(model, inputs)
    adaptive.fit(inputs, torch.arange(60) % 4)
    outputs, levels = adaptive(inputs, price=adaptive.price_for(1e9, inputs))
    every = forward_levels(model, inputs)
    torch.testing.assert_close(outputs, every[levels, torch.arange(60)])
    assert len(levels.unique()) > 1


def test_what_needs_single_layers_refuses_a_network_with_one_rank() -> None:
    with refused(ConfigError, "ADL-RNK-01", where="RankedSnnClassifier", remedy="Ranked"):
        materialize(classifier())


def test_blocks_that_open_outside_of_the_input_are_refused() -> None:
    for step in (-1, 5):
        with refused(ConfigError, "ADL-TRN-04", where="open_at", remedy="from 0 to 4"):
            classifier(open_at=step)


def test_the_objective_adds_what_its_weights_say() -> None:
    train = {"distillation_share": 0.25, "activity_penalty": 0.2, "relay_penalty": 0.3}
    settings = parse_config({"train": train})
    model, inputs, labels = classifier(), payloads(), torch.arange(12) % 4
    objective = NestedObjective(model, settings.train, settings.scheduler, classifier())
    losses = objective(inputs, labels, (0, 2))
    trains = model.network.forward_levels(in_the_network(inputs), (0, 2), open_at=1)
    assert trains.relayed is not None
    torch.testing.assert_close(losses["activity"], trains.hidden.mean())
    torch.testing.assert_close(losses["relays"], trains.relayed.abs().mean())
    wanted = 0.75 * losses["labels"] + 0.25 * losses["teacher"]
    wanted = wanted + 0.2 * losses["activity"] + 0.3 * losses["relays"]
    torch.testing.assert_close(losses["total"], wanted)


def test_the_teachers_objective_penalises_activity() -> None:
    settings = config()
    inputs, labels = FAMILY.arranger(settings, images())(images()), torch.arange(30) % 3
    dense = FAMILY.dense(settings, inputs, 3)
    train = settings.train.model_copy(update={"activity_penalty": 0.5, "relay_penalty": 0.1})
    losses = DenseObjective(dense, train)(inputs, labels, (0,))
    torch.testing.assert_close(losses["labels"], F.cross_entropy(dense(inputs), labels))
    torch.testing.assert_close(losses["total"], losses["labels"] + 0.5 * losses["activity"])


@pytest.mark.parametrize("key", ["activity_penalty", "relay_penalty"])
def test_a_model_without_spikes_has_none_to_penalise(key: str) -> None:
    settings = parse_config({"train": {key: 0.1}})
    with refused(ConfigError, "ADL-TRN-12", where="train", remedy="at 0"):
        NestedObjective(perceptron(), settings.train, settings.scheduler)


def test_the_gate_cannot_train_with_the_factors() -> None:
    settings = parse_config({"train": {"energy_penalty_weight": 0.1}})
    objective = NestedObjective(classifier(), settings.train, settings.scheduler)
    with refused(ConfigError, "ADL-SNN-05", where="energy_penalty_weight", remedy="to 0"):
        objective(payloads(), torch.arange(12) % 4, (0, 1))


def images(count: int = 30) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 5), dtype=np.uint8)


def test_images_are_coded_as_the_configuration_says() -> None:
    samples = images()
    samples[0, 0, 0] = 200
    samples = np.minimum(samples, 200)
    arranged = FAMILY.arranger(config(), samples)
    direct = arranged(samples)
    assert direct.shape == (30, 3, 20)
    assert (direct[0, :, 0] == 16).all()
    assert torch.equal(direct[:, 0], direct[:, 2])
    assert torch.equal(arranged(np.full_like(samples, 255)), torch.full_like(direct, 16))
    for coding in ("rate", "latency"):
        snn = {"coding": coding, "steps": 6}
        spikes = FAMILY.arranger(config(snn=snn), samples)(samples)
        assert spikes.unique().tolist() == [0, 1]
        dense = FAMILY.dense(config(snn=snn), spikes, 3)
        assert dense(spikes).shape == (30, 3)


def test_samples_that_are_spikes_keep_their_steps() -> None:
    samples = (images() > 128).astype(np.uint8)[..., None]
    settings = config(snn={"coding": None, "open_at": 3})
    spikes = FAMILY.arranger(settings, samples)(samples)
    assert torch.equal(spikes, torch.from_numpy(samples[..., 0]))
    dense = FAMILY.dense(settings, spikes, 3)
    ranked = FAMILY.ranked(dense, config(levels=[1, 5]), spikes, PerfEstimator())
    assert isinstance(ranked, RankedSnnClassifier)
    assert ranked.levels == (1, 5)
    assert ranked.network.config.steps == 4
    with refused(ConfigError, "ADL-TRN-04", where="model.snn.open_at", remedy="0 to 3"):
        FAMILY.dense(config(snn={"coding": None, "open_at": 4}), spikes, 3)


def test_factors_of_full_rank_compute_what_the_dense_network_does() -> None:
    settings = config(levels=[2, 20], snn={"steps": 4, "hidden_threshold": 0.3})
    inputs = FAMILY.arranger(settings, images(200))(images(200))
    dense = FAMILY.dense(settings, inputs, 5)
    with torch.no_grad():
        for weight in dense.parameters():
            weight.mul_(3.0)
    ranked = FAMILY.ranked(dense, settings, inputs, PerfEstimator())
    both, wanted = forward_levels(ranked, inputs), dense(inputs)
    assert wanted.std() > 0
    assert ((both[1] - wanted).abs() < 1e-6).double().mean() > 0.98
    assert not torch.equal(both[0], wanted)


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"model": {"hidden": [8, 8]}}, "model.hidden"),
        ({"model": {"hidden": [8], "scorer_hidden": 4}}, "model.scorer_hidden"),
        (
            {"model": {"hidden": [8]}, "train": {"energy_penalty_weight": 0.1}},
            "train.energy_penalty_weight",
        ),
    ],
)
def test_keys_beyond_a_spiking_network_are_refused_before_training(
    keys: dict[str, Any], where: str
) -> None:
    settings = parse_config(keys)
    with refused(ConfigError, "ADL-SNN-05", where=where, remedy=""):
        FAMILY.arranger(settings, images())
    with refused(ConfigError, "ADL-SNN-05", where=where, remedy=""):
        FAMILY.dense(settings, torch.zeros(1, 2, 3), 3)


def test_an_experiment_ends_in_figures_and_a_fitted_gate(tmp_path: Path) -> None:
    folders = (tmp_path / "save", tmp_path / "results")
    result = run_experiment(config(), *folders, device="cpu", progress=False)
    assert parse_config(result["config"]).as_dict() == config().as_dict()
    assert result["dense"]["accuracy"] > 0.7
    levels, gated = result["levels"], result["gated"]
    assert [level["rank"] for level in levels] == [2, 4, 8]
    assert levels[-1]["accuracy"] > 0.7
    for figure in ("energy_mj", "synaptic_ops"):
        assert sorted(level[figure] for level in levels) == [level[figure] for level in levels]
        assert gated[-1][figure] < gated[0][figure]
    assert gated[-1]["energy_mj"] == pytest.approx(levels[0]["energy_mj"])
    assert result["budget"]["energy_mj"] < 1.1 * result["budget"]["budget_mj"]
    again = run_experiment(config(), *folders, device="cpu", resume=True, progress=False)
    assert again == result


class Interrupted(Dataset[tuple[Tensor, Tensor]]):
    """Payloads whose loading fails at the given load; never at 0."""

    def __init__(self, at: int) -> None:
        self.inputs, self.at, self.loads = payloads(32), at, 0

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.loads += 1
        if self.loads == self.at:
            raise KeyboardInterrupt
        return self.inputs[index], torch.tensor(index % 4)


def run(folder: Path, *, cut_at: int = 0, resume: bool = False) -> None:
    """The same data and first weights each time."""
    torch.manual_seed(3)
    model, data = classifier(), Interrupted(cut_at)
    train = {"epochs": 2, "batch_size": 8, "lr": 1e-2, "checkpoint_steps": 1}
    settings = parse_config({"train": train | {"activity_penalty": 0.1, "relay_penalty": 0.1}})
    held_out = DataLoader(TensorDataset(payloads(8), torch.arange(8) % 4), 4)
    trainer = ADLRNSTrainer(model, settings, "cpu", folder, resume=resume, progress=False)
    trainer.train(DataLoader(data, 8, shuffle=True), held_out)


def test_a_run_that_is_cut_off_resumes_to_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut_at=44)
    run(tmp_path / "cut", resume=True)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "cut" / path.name).read_bytes(), path.name


def test_a_penalty_makes_neurons_spike_less(tmp_path: Path) -> None:
    inputs, labels = FAMILY.arranger(config(), images(60))(images(60)), torch.arange(60) % 3
    loader = DataLoader(TensorDataset(inputs, labels), 20)
    rates = []
    for penalty in (0.0, 3.0):
        torch.manual_seed(0)
        settings = parse_config(KEYS | {"train": {"epochs": 8, "activity_penalty": penalty}})
        dense = FAMILY.dense(settings, inputs, 3)
        folder = tmp_path / str(penalty)
        trained = train_dense(
            dense, settings, loader, loader, save_dir=folder, device="cpu", progress=False
        )
        rates.append(trained.history[-1]["activity"])
    assert rates[1] < 0.8 * rates[0]
