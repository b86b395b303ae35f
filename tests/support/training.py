"""A small task, a small model and a small run; also a program of its own, for tests that kill it.

python -m support.training FOLDER [--kill-at N | --kill-in-write N | --shared]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from adlrns_neuro.config import ExperimentConfig, parse_config
from adlrns_neuro.layers import DynamicLowRankLayer, Ranked
from adlrns_neuro.trainer import ADLRNSTrainer
from adlrns_neuro.training.loop import TrainingResult
from mapping.errors import ConfigError

FEATURES, CLASSES, SAMPLES = 12, 3, 144
TRAIN = {"epochs": 3, "batch_size": 16, "lr": 2e-2, "levels_per_step": 3, "checkpoint_steps": 2}


class Blobs(Dataset[tuple[Tensor, Tensor]]):
    """Three classes, with noise that is drawn anew whenever a sample is loaded.

    Attributes:
        kill_at: number of the load at which the process kills itself; 0 for never.
    """

    def __init__(self, *, kill_at: int = 0) -> None:
        inputs, labels = samples()
        self.inputs, self.labels = inputs[:SAMPLES], labels[:SAMPLES]
        self.kill_at, self.loads = kill_at, 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.loads += 1
        if self.loads == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inputs[index] + 0.1 * torch.randn(FEATURES), self.labels[index]


def samples(count: int = SAMPLES + 64) -> tuple[Tensor, Tensor]:
    """Inputs (count, 12) and labels (count,), always the same."""
    stream = torch.Generator().manual_seed(5)
    inputs = torch.randn(count, FEATURES, generator=stream)
    return inputs, (inputs @ torch.randn(FEATURES, CLASSES, generator=stream)).argmax(dim=1)


def model() -> nn.Module:
    """Two low-rank layers with dropout between, always the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [
            DynamicLowRankLayer(
                n, 16, levels=(1, 2, 4, 8), level_bias=True, level_gain=True, scorer_hidden=3
            )
            for n in (FEATURES, 16)
        ]
        return nn.Sequential(
            Ranked(layers[0]),
            nn.ReLU(),
            nn.Dropout(0.2),
            Ranked(layers[1]),
            nn.ReLU(),
            nn.Linear(16, CLASSES),
        )


def held_out() -> DataLoader[Any]:
    """Samples that are not trained on."""
    inputs, labels = samples()
    return DataLoader(TensorDataset(inputs[SAMPLES:], labels[SAMPLES:]), batch_size=24)


def config(**train: object) -> ExperimentConfig:
    return parse_config({"seed": 3, "train": TRAIN | train})


def train(
    folder: Path, *, kill_at: int = 0, resume: bool = False, **train: object
) -> TrainingResult:
    """A whole run; the same weights wherever and however often it is cut off."""
    trainer = ADLRNSTrainer(model(), config(**train), "cpu", folder, resume=resume, progress=False)
    loader = DataLoader(Blobs(kill_at=kill_at), batch_size=16, shuffle=True)
    return trainer.train(loader, held_out())


def two_batches(folder: Path) -> TrainingResult:
    """A run without dropout and noise, which differ between processes."""
    made = model()
    for part in made:
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    inputs, labels = samples()
    data = TensorDataset(inputs[:SAMPLES], labels[:SAMPLES])
    trainer = ADLRNSTrainer(made, config(epochs=2), "cpu", folder, progress=False)
    return trainer.train(DataLoader(data, batch_size=16, shuffle=True), held_out())


def _uneven(folder: Path) -> None:
    """Batches that two processes cannot share."""
    trainer = ADLRNSTrainer(model(), config(), "cpu", folder, progress=False)
    try:
        trainer.train(DataLoader(Blobs(), batch_size=15), held_out())
    except ConfigError as error:
        sys.stdout.write(f"refused: {error}\n")


def _kill_in_write(number: int) -> None:
    """Die after a checkpoint has been written beside its place, before it is renamed."""
    written = 0
    replace = Path.replace

    def count(self: Path, target: Path) -> Path:
        nonlocal written
        written += 1
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = count  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--kill-in-write", type=int, default=0)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.kill_in_write:
        _kill_in_write(options.kill_in_write)
    if options.shared:
        _uneven(options.folder)
        two_batches(options.folder)
    else:
        train(options.folder, kill_at=options.kill_at)
