"""One network for every budget beside networks of one rank each, on the same samples.

The rivals start from the same dense network by the same whitened SVD and learn from it as long as
the one network does, one for each of its levels, or of other ranks; together they take about its
training compute.
Between them their accuracy is interpolated over multiply-accumulates. Where each layer of the one
network has levels of its own there are two families of rivals, of those ranks and of the first
layer's in all layers; whichever is better at a budget counts. Held-out samples choose every
epoch, fit the gate and set its prices; the test split is measured once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro.adaptive import AdaptiveModel
from adlrns_neuro.budget import BudgetManager
from adlrns_neuro.config import ExperimentConfig, ModelConfig, with_settings
from adlrns_neuro.experiments.measure import BATCH, Measured, by_level, measured
from adlrns_neuro.experiments.run import Split, arranged_splits
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.models.registry import MODELS
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.trainer import ADLRNSTrainer, train_dense

SCORER = "confidence_probe"
"""What the gate of the one network sees; the others come along for comparison."""
SHARES = (0.35, 0.7, 0.2)
"""Budgets that follow each other, from the lowest level (0) to what the gate takes for free (1)."""
SETTLING, STREAM = 50, 1000
"""Samples after a step of the budget, and those whose mean counts."""


def rank_study(
    config: ExperimentConfig,
    save_dir: Path,
    budgets_macs: Sequence[float],
    *,
    rivals: Sequence[int] = (),
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train all networks of one seed, and measure them.

    Args:
        config: of the one network.
        save_dir: folder for checkpoints and weights.
        budgets_macs: multiply-accumulates per sample, the gate's and its probe's included.
        rivals: their ranks, each in all layers; those of the one network's levels if none.
        resume: go on where a run in that folder was cut off.
        progress: draw progress bars on stderr.

    Returns:
        ``dense``, ``levels`` by rank (the first layer's), ``rivals`` by family (``own ranks`` or
        ``one rank``) and rank, ``budgets`` by scorer, ``training_macs`` and ``steps``, in plain
        types.

    Raises:
        ConfigError: as :func:`adlrns_neuro.experiments.run.run_experiment`; ``ADL-RNK-01`` when a
            scorer finds no layer of its own to look at, as in a spiking network.
    """
    family = MODELS.get(config.model.type)
    splits = arranged_splits(config, family)
    train, held_out, test = splits.train, splits.held_out, splits.test
    loaders = (
        DataLoader(TensorDataset(*train), config.train.batch_size, shuffle=True),
        DataLoader(TensorDataset(*held_out), BATCH),
    )
    torch.manual_seed(config.seed)
    dense = family.dense(config, train[0], splits.classes)
    estimator = PerfEstimator(config.hardware.profile)
    with torch.random.fork_rng(devices=[]):  # Refused before anything is trained.
        untrained = family.ranked(dense, config, train[0], estimator)
        for scorer in SCORERS.names():
            AdaptiveModel(untrained, train[0][:1], scorer=scorer)
    train_dense(
        dense,
        config,
        *loaders,
        save_dir=save_dir / "dense",
        device="cpu",
        resume=resume,
        progress=progress,
    )

    def trained(name: str, ranks: Mapping[str, object]) -> nn.Module:
        own = with_settings(config, {**ranks, "train.fit_gates": False})
        model = family.ranked(dense, own, train[0], estimator)
        folder = save_dir / name
        trainer = ADLRNSTrainer(
            model, own, "cpu", folder, teacher=dense, resume=resume, progress=progress
        )
        trainer.train(*loaders)
        return model.eval()

    ranks = config.model.ranks
    families = {
        kind: {
            rank: measured(trained(f"{kind} {rank}", own), *test) for rank, own in settings.items()
        }
        for kind, settings in rival_ranks(config.model, rivals).items()
    }
    model = trained("all", {})
    levels = by_level(model, *test)
    passes = config.train.epochs * len(train[0])
    gated = {}
    for scorer in SCORERS.names():
        gated[scorer] = AdaptiveModel(model, train[0][:1], scorer=scorer)
        gated[scorer].fit(*held_out, stacked=True)
    return {
        "dense": asdict(measured(dense, *test)),
        "rivals": {
            kind: {str(rank): asdict(found) for rank, found in known.items()}
            for kind, known in families.items()
        },
        "levels": {str(rank): asdict(found) for rank, found in zip(ranks, levels, strict=True)},
        "training_macs": {
            "rivals": passes * sum(found.macs for found in next(iter(families.values())).values()),
            "one": passes * sum(found.macs for found in levels),
        },
        "budgets": {
            scorer: [
                at_budget(one, b, held_out[0], test, list(families.values())) for b in budgets_macs
            ]
            for scorer, one in gated.items()
        },
        "steps": _steps(gated[SCORER], held_out[0], test),
    }


def rival_ranks(
    model: ModelConfig, ranks: Sequence[int] = ()
) -> dict[str, dict[int, dict[str, Any]]]:
    """Settings of the rivals by family and rank; the first family has the ranks of the levels.

    Args:
        model: of the one network.
        ranks: of rivals of one rank in all layers, in the place of those of its levels.
    """
    whole: dict[str, Any] = {"model.early_exit": False}
    one = {
        rank: {**whole, "model.levels": (rank,), "model.layer_levels": None}
        for rank in ranks or model.ranks
    }
    if model.layer_levels is None or ranks:
        return {"one rank": one}
    own = {
        levels[0]: {**whole, "model.layer_levels": tuple((rank,) for rank in levels)}
        for levels in zip(*model.layer_levels, strict=True)
    }
    return {"own ranks": own, "one rank": one}


def at_budget(
    adaptive: AdaptiveModel,
    budget: float,
    held_out: Tensor,
    test: Split,
    rivals: Sequence[Mapping[int, Measured]],
) -> dict[str, Any]:
    """What the test split shows at the price that keeps a budget on held-out samples.

    Args:
        adaptive: with a fitted gate.
        budget: multiply-accumulates per sample.
        held_out: inputs that set the price.
        test: what is measured.
        rivals: families of figures to interpolate between over multiply-accumulates; the best
            family counts.
    """
    price = adaptive.price_for(budget, held_out, adaptive.macs(held_out[:1]))
    counter, hits, used = FlopCounterMode(display=False), 0, torch.zeros(0, dtype=torch.int64)
    with torch.no_grad(), counter:
        for some, labels in zip(*(torch.split(part, BATCH) for part in test), strict=True):
            outputs, levels = adaptive(some, price=price)
            hits += int((outputs.argmax(dim=-1) == labels).sum())
            used = torch.cat([used, levels])
    macs = counter.get_total_flops() / 2 / len(test[1])
    shares = torch.bincount(used, minlength=len(adaptive.energies_mj)) / len(used)
    return {
        "budget_macs": budget,
        "price": price,
        "macs": macs,
        "accuracy": hits / len(test[1]),
        "rivals_accuracy": max(_interpolated(family, macs) for family in rivals),
        "level_shares": shares.tolist(),
    }


def _interpolated(family: Mapping[int, Measured], macs: float) -> float:
    known = family.values()
    spent, accuracies = [rival.macs for rival in known], [rival.accuracy for rival in known]
    return float(np.interp(macs, spent, accuracies))


def _steps(adaptive: AdaptiveModel, held_out: Tensor, test: Split) -> list[dict[str, float]]:
    """A budget that steps while test samples arrive one by one, and the same at fixed prices."""
    inputs, labels = test
    with torch.no_grad():
        adaptive(held_out, price=0.0)
    low, high = adaptive.energies_mj[0], adaptive.spent_mj
    stream = torch.arange(len(SHARES) * (SETTLING + STREAM)) % len(labels)
    found = []
    with torch.no_grad(), BudgetManager(adaptive, high) as manager:
        manager.calibrate(held_out)
        for share, part in zip(SHARES, stream.chunk(len(SHARES)), strict=True):
            manager.budget_mj = low + share * (high - low)
            for sample in part[:SETTLING]:
                adaptive(inputs[sample][None])
            counted, before, hits = part[SETTLING:], manager.report().spent_mj, 0
            for sample in counted:
                outputs, _ = adaptive(inputs[sample][None])
                hits += int(outputs.argmax() == labels[sample])
            spent = (manager.report().spent_mj - before) / STREAM
            found.append((part[SETTLING:], manager.budget_mj, spent, hits / STREAM))
    return [
        {
            "budget_mj": budget,
            "spent_mj": spent,
            "accuracy": share,
            "offline_accuracy": _offline(adaptive, inputs[which], labels[which], spent),
        }
        for which, budget, spent, share in found
    ]


def _offline(adaptive: AdaptiveModel, inputs: Tensor, labels: Tensor, spent_mj: float) -> float:
    """Accuracy on samples at the fixed price at which they take as much."""
    with torch.no_grad():
        outputs, _ = adaptive(inputs, price=adaptive.price_for(spent_mj, inputs))
    return float((outputs.argmax(dim=-1) == labels).double().mean())
