"""One experiment from beginning to end; its figures as JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from adlrns_neuro.config import ExperimentConfig
from adlrns_neuro.data import Labelled, hold_out, load_dataset
from adlrns_neuro.experiments.measure import by_level, by_price, measured, under_budget
from adlrns_neuro.models.registry import MODELS, ModelFamily
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.trainer import ADLRNSTrainer, train_dense
from mapping.artifact.atomic import atomic_file
from mapping.errors import ConfigError

SCHEMA = 1
VERSIONS = ("adlrns", "torch", "numpy", "accelerate")


def run_experiment(
    config: ExperimentConfig,
    save_dir: Path,
    results_dir: Path,
    *,
    device: str | torch.device | None = None,
    command: str = "",
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the dense network, then the one for all ranks; measure both on the test split.

    Args:
        config: the experiment.
        save_dir: folder for checkpoints and weights, ``dense/`` and ``nested/`` inside it.
        results_dir: gets ``NAME/seedS-HASH.json``, where the hash is that of the configuration.
        device, resume, progress: as in :class:`adlrns_neuro.trainer.ADLRNSTrainer`.
        command: what reproduces the result, kept in it.

    Returns:
        What the file holds: the configuration, versions, ``dense``, ``levels``, ``gated`` by price
        and ``budget``, each with :class:`~adlrns_neuro.experiments.measure.Measured` figures on
        the test split, which nothing before has seen.

    Raises:
        ConfigError: ``ADL-RUN-01`` when the result exists and ``resume`` is not set, ``ADL-CFG-01``
            on an unknown model or data set, and those of the loader and of the trainer.
    """
    family = MODELS.get(config.model.type)
    path = result_path(config, results_dir)
    if path.exists() and not resume:
        raise ConfigError(
            "this experiment has a result, which would be overwritten",
            where=str(path),
            remedy="pass --resume, choose another folder for results, or remove the file",
            code="ADL-RUN-01",
        )
    splits = arranged_splits(config, family)
    train_set, held_set, test_set = splits.train, splits.held_out, splits.test
    batch = config.train.batch_size
    train_loader = DataLoader(TensorDataset(*train_set), batch, shuffle=True)
    held_loader = DataLoader(TensorDataset(*held_set), batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        dense = family.dense(config, train_set[0], splits.classes)
        train_dense(
            dense,
            config,
            train_loader,
            held_loader,
            save_dir=save_dir / "dense",
            device=device,
            resume=resume,
            progress=progress,
        )
        where = next(dense.parameters()).device
        estimator = PerfEstimator(config.hardware.profile)
        model = family.ranked(dense, config, train_set[0].to(where), estimator)
    trainer = ADLRNSTrainer(
        model,
        config,
        device,
        save_dir / "nested",
        teacher=dense,
        resume=resume,
        progress=progress,
    )
    trainer.train(train_loader, held_loader)
    result = {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "command": command,
        "config": config.as_dict(),
        "versions": {name: version(name) for name in VERSIONS},
        "machine": {"platform": platform.platform(), "device": str(where)},
        "samples": splits.sizes,
        **_figures(config, dense, model, held_set[0].to(where), *(t.to(where) for t in test_set)),
    }
    if trainer.accelerator.is_main_process:
        with atomic_file(path) as work:
            work.write_text(json.dumps(result, indent=1) + "\n")
    return result


Split = tuple[Tensor, Tensor]
"""Inputs as the network takes them, and labels, int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """A data set in three parts, as a family of networks takes it.

    Attributes:
        train: for weights.
        held_out: for every choice.
        test: for figures.
        classes: how many there are.
    """

    train: Split
    held_out: Split
    test: Split
    classes: int

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each part."""
        return {name: len(getattr(self, name)[1]) for name in ("train", "held_out", "test")}


def arranged_splits(config: ExperimentConfig, family: ModelFamily) -> Splits:
    """The experiment's data for a kind of network.

    Raises:
        ConfigError: ``ADL-CFG-01`` on an unknown data set, ``ADL-DAT-03`` on an option that its
            loader lacks, and those of the loader and of the family.
    """
    data = load_dataset(config.data.set, config.data.dir, **config.data.options)
    rest, held = hold_out(data.train, config.data.held_out_share, config.seed)
    arranged = family.arranger(config, rest.inputs)

    def tensors(part: Labelled) -> Split:
        return arranged(part.inputs), torch.tensor(part.labels)

    return Splits(
        train=tensors(rest),
        held_out=tensors(held),
        test=tensors(data.test),
        classes=len(data.classes),
    )


def result_path(config: ExperimentConfig, results_dir: Path) -> Path:
    """Where the result of an experiment lies; experiments that differ in any key lie apart."""
    keys = config.as_dict()
    keys["data"].pop("dir")
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:8]
    return results_dir / config.name / f"seed{config.seed}-{digest}.json"


def _figures(
    config: ExperimentConfig,
    dense: nn.Module,
    model: nn.Module,
    held_out: Tensor,
    inputs: Tensor,
    labels: Tensor,
) -> dict[str, Any]:
    """All measurements of the test split, in plain types."""
    levels = by_level(model, inputs, labels)
    budget_mj = config.scheduler.energy_budget_mj
    return {
        "dense": asdict(measured(dense, inputs, labels)),
        "levels": [
            {"rank": rank} | asdict(found)
            for rank, found in zip(config.model.ranks, levels, strict=True)
        ],
        "gated": [
            {"price": price} | asdict(found)
            for price, found in by_price(model, inputs, labels).items()
        ],
        "budget": None
        if budget_mj is None
        else {"scheduler": config.scheduler.type, "budget_mj": budget_mj}
        | asdict(under_budget(model, config.scheduler, held_out, inputs, labels)),
    }
