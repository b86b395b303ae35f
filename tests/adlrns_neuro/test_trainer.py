"""Training for all ranks: what it learns, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.errors import refused
from support.training import CLASSES, FEATURES, Blobs, config, held_out, model, samples, train
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from adlrns_neuro import ADLRNSTrainer
from adlrns_neuro.gates import GateNetwork, fit_gate
from adlrns_neuro.gates.fit_model import fit_gates
from adlrns_neuro.layers import DynamicLowRankLayer, Ranked
from adlrns_neuro.ranks import forward_levels, ranked_layers
from adlrns_neuro.trainer import train_dense
from adlrns_neuro.training.checkpoint import load_weights
from adlrns_neuro.training.processes import accelerator_on
from adlrns_neuro.training.randomness import drawn_levels
from mapping.errors import ArtifactError, ConfigError


def accuracies(trained: nn.Module) -> list[float]:
    inputs, labels = held_out().dataset.tensors  # type: ignore[attr-defined]
    trained.eval()
    with torch.no_grad():
        hits = forward_levels(trained, inputs).argmax(dim=-1) == labels
    return hits.float().mean(dim=1).tolist()


def weights(path: Path) -> dict[str, Tensor]:
    made = model()
    load_weights(made, path)
    return made.state_dict()


def test_all_levels_learn_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    trainer = ADLRNSTrainer(model(), config(epochs=12), "cpu", tmp_path, progress=False)
    result = trainer.train(DataLoader(Blobs(), 16, shuffle=True), held_out())

    assert trainer.history == result.history
    assert [record["epoch"] for record in result.history] == list(range(1, 13))
    assert result.history[-1]["total"] < 0.6 * result.history[0]["total"]
    best = result.history[result.best_epoch - 1]
    assert best["val_accuracy"] == pytest.approx(accuracies(trainer.model))
    means = [sum(record["val_accuracy"]) for record in result.history]
    assert means[result.best_epoch - 1] == max(means)
    assert best["val_accuracy"][-1] > 0.8
    assert not result.stopped_early
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log == list(result.history)


def test_files_hold_the_weights_that_they_say(tmp_path: Path) -> None:
    result = train(tmp_path, fit_gates=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint.safetensors", "best.safetensors", "last.safetensors", "log.jsonl"}
    last, checkpoint = weights(result.last), weights(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(last[name], checkpoint[name]) for name in last)


def test_a_teacher_is_learnt_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    loader = DataLoader(Blobs(), 16, shuffle=True)
    settings = config(teacher_epochs=15, distillation_share=1.0, epochs=12)
    taught = train_dense(
        dense, settings, loader, held_out(), save_dir=tmp_path / "d", device="cpu", progress=False
    )
    assert len(taught.history) == 15
    assert taught.history[taught.best_epoch - 1]["val_accuracy"][0] > 0.85

    nested = model()
    trainer = ADLRNSTrainer(nested, settings, "cpu", tmp_path / "n", teacher=dense, progress=False)
    result = trainer.train(loader, held_out())
    assert result.history[-1]["teacher"] < 0.5 * result.history[0]["teacher"]
    assert result.history[-1]["total"] == pytest.approx(result.history[-1]["teacher"])
    with torch.no_grad():
        inputs = samples()[0]
        agree = nested.eval()(inputs).argmax(dim=1) == dense(inputs).argmax(dim=1)
    assert agree.float().mean() > 0.85


def test_gates_stay_as_they_are_while_factors_train_and_are_fitted_then(tmp_path: Path) -> None:
    trainer = ADLRNSTrainer(model(), config(), "cpu", tmp_path, progress=False)
    before = {name: w.clone() for name, w in trainer.model.state_dict().items() if "gate" in name}
    result = trainer.train(DataLoader(Blobs(), 16, shuffle=True), held_out())
    best, gated = weights(result.best), weights(tmp_path / "gated.safetensors")
    assert all(torch.equal(best[name], before[name]) for name in before)
    assert all(torch.equal(best[name], gated[name]) for name in best if "gate" not in name)
    for name, part in ranked_layers(trainer.model).items():
        assert not torch.equal(part.layer.gate.weight, before[f"{name}.layer.gate.weight"])
        assert all(parameter.requires_grad for parameter in part.layer.gate.parameters())


def test_gates_of_token_layers_are_fitted_to_every_token() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = Ranked(DynamicLowRankLayer(6, 8, levels=(1, 2, 4)))
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.tokens(x).relu().mean(dim=1))
            return logits

    made, x, labels = Pooled(), torch.randn(40, 5, 6), torch.randint(CLASSES, (40,))
    batches = [(x[:30], labels[:30]), (x[30:], labels[30:])]
    fit_gates(made, batches, accelerator_on("cpu", 0))

    with torch.no_grad():
        right = forward_levels(made, x).softmax(dim=-1)[:, torch.arange(40), labels]
        expected = GateNetwork(1, [1.0, 1.0])
        features = made.tokens.layer.features(x).flatten(0, 1)
        fit_gate(expected, features, (1 - right.T).repeat_interleave(5, dim=0))
    torch.testing.assert_close(made.tokens.layer.gate.weight, expected.weight)
    torch.testing.assert_close(made.tokens.layer.gate.bias, expected.bias)


def test_an_energy_price_trains_gates_that_spend_less(tmp_path: Path) -> None:
    def spent(price: float, folder: str) -> tuple[float, Any]:
        settings = config(epochs=10, energy_penalty_weight=price)
        trainer = ADLRNSTrainer(model(), settings, "cpu", tmp_path / folder, progress=False)
        result = trainer.train(DataLoader(Blobs(), 16, shuffle=True), held_out())
        return result.history[-1]["energy"], result

    low, _ = spent(0.01, "cheap")
    high, result = spent(3.0, "dear")
    assert high < 0.7 * low
    assert not (tmp_path / "dear" / "gated.safetensors").exists()
    assert {"labels", "gated", "energy", "total"} < result.history[0].keys()


def test_alpha_and_beta_weigh_the_energy() -> None:
    layer = next(iter(ranked_layers(model()).values())).layer
    x = torch.randn(4, FEATURES)
    flops, memory = (layer.expected_cost(x, alpha=a, beta=1 - a) for a in (1.0, 0.0))
    torch.testing.assert_close(layer.expected_cost(x), (flops + memory) / 2)
    assert not torch.allclose(flops, memory)


def test_training_ends_when_validation_no_longer_gets_better(tmp_path: Path) -> None:
    result = train(tmp_path, epochs=40, patience=2, lr=0.2)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 2 < 40


def test_the_caller_keeps_its_random_stream(tmp_path: Path) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train(tmp_path, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_levels_of_a_step() -> None:
    assert drawn_levels(0, 7, 3, 4) == (0, 1, 2)
    drawn = [drawn_levels(0, step, 8, 4) for step in range(200)]
    assert all(levels[0] == 0 and levels[-1] == 7 and len(set(levels)) == 4 for levels in drawn)
    assert {level for levels in drawn for level in levels} == set(range(8))
    assert drawn == [drawn_levels(0, step, 8, 4) for step in range(200)]
    assert drawn != [drawn_levels(1, step, 8, 4) for step in range(200)]


def test_a_model_may_run_its_levels_in_its_own_way() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model()

        def forward_levels(self, inputs: Tensor, levels: range) -> Tensor:
            return torch.full((len(levels), len(inputs), 1), 7.0)

    assert (forward_levels(Own(), torch.randn(5, FEATURES)) == 7).all()


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with refused(ConfigError, "ADL-TRN-05", where=str(tmp_path), remedy="resume"):
        train(tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert again == first


@pytest.mark.parametrize(("key", "value"), [("lr", 1e-2), ("epochs", 5)])
def test_another_run_is_not_resumed(tmp_path: Path, key: str, value: float) -> None:
    train(tmp_path)
    with refused(ConfigError, "ADL-TRN-06", message=f"{key} {config().train.__dict__[key]}"):
        train(tmp_path, resume=True, **{key: value})


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0garbage", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.safetensors"
    if content is None:
        train(tmp_path)
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with refused(ConfigError, "ADL-TRN-07", where="checkpoint.safetensors", remedy="anew"):
        train(tmp_path, resume=True)


def test_weights_of_another_model_or_format_are_refused(tmp_path: Path) -> None:
    result = train(tmp_path)
    with refused(ConfigError, "ADL-TRN-07", message="another model"):
        load_weights(nn.Linear(3, 2), result.best)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with refused(ConfigError, "ADL-TRN-07", message="is no adlrns-training"):
        load_weights(model(), tmp_path / "other.safetensors")


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused(ArtifactError, "ADL-ART-01", where="file"):
        train(tmp_path / "file" / "run")


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for device in ("toaster", "cuda:77"):
        with refused(ConfigError, "ADL-TRN-09", message=device, remedy="cpu"):
            ADLRNSTrainer(model(), config(), device, tmp_path)


def test_a_process_does_not_change_its_device(tmp_path: Path) -> None:
    ADLRNSTrainer(model(), config(), "cpu", tmp_path)
    with refused(ConfigError, "ADL-TRN-09", message="already runs on cpu"):
        ADLRNSTrainer(model(), config(), "meta", tmp_path)


def test_a_plain_model_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "ADL-RNK-01"):
        ADLRNSTrainer(nn.Linear(3, 2), config(), "cpu", tmp_path)


def run_on(inputs: Tensor, labels: Tensor, folder: Path, **settings: object) -> None:
    trainer = ADLRNSTrainer(model(), config(**settings), "cpu", folder, progress=False)
    data = TensorDataset(inputs, labels)
    trainer.train(DataLoader(data, batch_size=16), held_out())


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    inputs, labels = samples()
    with refused(ConfigError, "ADL-TRN-03", message="from 1 to 3, the model has 3"):
        run_on(inputs, labels.clamp(min=1) + (labels == 2), tmp_path)


def test_batches_that_are_no_pairs_are_refused(tmp_path: Path) -> None:
    inputs, labels = samples()
    with refused(ConfigError, "ADL-TRN-10", message="torch.float32 tensor of shape (16,)"):
        run_on(inputs, labels.float(), tmp_path)
    trainer = ADLRNSTrainer(model(), config(), "cpu", tmp_path, progress=False)
    with refused(ConfigError, "ADL-TRN-10", message="a batch is"):
        trainer.train(DataLoader(inputs, batch_size=16), held_out())  # type: ignore[arg-type]
    few = DataLoader(TensorDataset(inputs[:3], labels[:3]), batch_size=16, drop_last=True)
    with refused(ConfigError, "ADL-TRN-10", where="train_loader", message="no batch"):
        trainer.train(few, held_out())


def test_a_loader_without_a_length_is_refused(tmp_path: Path) -> None:
    class Endless(IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Any:
            yield from zip(*samples(), strict=True)

    trainer = ADLRNSTrainer(model(), config(), "cpu", tmp_path, progress=False)
    with refused(ConfigError, "ADL-TRN-10", message="no length", remedy="map-style"):
        trainer.train(DataLoader(Endless(), batch_size=16), held_out())


def test_training_that_diverges_is_refused(tmp_path: Path) -> None:
    inputs, labels = samples()
    with refused(ConfigError, "ADL-TRN-11", message="nan", remedy="lower train.lr"):
        run_on(inputs * float("inf"), labels, tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()
