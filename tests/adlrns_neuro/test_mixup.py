"""Training on mixtures of samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.errors import refused
from support.training import CLASSES, FEATURES, Blobs, config, held_out, model, samples
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader

from adlrns_neuro import ADLRNSTrainer
from adlrns_neuro.config import parse_config
from adlrns_neuro.ranks import forward_levels
from adlrns_neuro.training.objective import NestedObjective
from mapping.errors import ConfigError


def test_losses_are_those_of_the_mixtures() -> None:
    settings = parse_config({"train": {"mixup": 0.5, "distillation_share": 0.25}})
    inputs, labels = samples(40)
    trained, teacher = model().eval(), nn.Linear(FEATURES, CLASSES)
    objective = NestedObjective(trained, settings.train, settings.scheduler, teacher)
    torch.manual_seed(3)
    losses = objective(inputs, labels, (0, 1))

    torch.manual_seed(3)
    share = torch.distributions.Beta(torch.full((40,), 0.5), torch.full((40,), 0.5)).sample()
    partner = torch.randperm(40)
    mixed = share[:, None] * inputs + (1 - share[:, None]) * inputs[partner]
    logits = forward_levels(trained, mixed, (0, 1))
    each = [F.cross_entropy(row, labels, reduction="none") for row in logits]
    other = [F.cross_entropy(row, labels[partner], reduction="none") for row in logits]
    wanted = (share * torch.stack(each) + (1 - share) * torch.stack(other)).mean()
    torch.testing.assert_close(losses["labels"], wanted)
    targets = (teacher(mixed) / 2).log_softmax(dim=-1)
    answers = (logits / 2).log_softmax(dim=-1)
    divergence = (targets.exp() * (targets - answers)).sum(dim=-1).mean()
    torch.testing.assert_close(losses["teacher"], 4 * divergence)
    torch.testing.assert_close(losses["total"], 0.75 * wanted + losses["teacher"] / 4)


def test_a_run_on_mixtures_learns_and_is_the_same_again(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        settings = config(epochs=12, mixup=0.3)
        trainer = ADLRNSTrainer(model(), settings, "cpu", tmp_path / name, progress=False)
        loader = DataLoader(Blobs(), 16, shuffle=True)
        results.append(trainer.train(loader, held_out()).history)
    assert results[0] == results[1]
    assert results[0][-1]["val_accuracy"][-1] > 0.8


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8])
def test_whole_numbers_are_not_mixed(kind: torch.dtype) -> None:
    settings = parse_config({"train": {"mixup": 0.5}})
    inputs, labels = samples(10)
    objective = NestedObjective(model(), settings.train, settings.scheduler)
    with refused(ConfigError, "ADL-TRN-13", where="train.mixup", remedy="to 0"):
        objective(inputs.to(kind), labels, (0, 1))
