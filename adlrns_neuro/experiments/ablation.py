"""What each part of the training recipe brings, on samples held out of training.

Each setting changes one thing; all start from the same dense network. Half of the held-out samples
choose the epoch and fit the gate, the other half is measured, so that defaults can be chosen by
these figures and test samples stay unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from adlrns_neuro.adaptive import AdaptiveModel
from adlrns_neuro.config import ExperimentConfig, with_settings
from adlrns_neuro.experiments.measure import BATCH, Measured, by_level, by_price, measured
from adlrns_neuro.experiments.run import Split, arranged_splits
from adlrns_neuro.experiments.study import SCORER, at_budget
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.models.registry import MODELS
from adlrns_neuro.perf import PerfEstimator
from adlrns_neuro.ranks import ranked_layers
from adlrns_neuro.trainer import ADLRNSTrainer, train_dense
from mapping.lowrank import plain_svd

PLAIN = "no whitening"
JOINT = "gates trained with the factors"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    PLAIN: {},
    "no distillation": {"train.distillation_share": 0.0},
    "more distillation": {"train.distillation_share": 0.7},
    "bias by level": {"model.level_bias": True},
    "gain by level": {"model.level_gain": True},
    "half the rank in the second layer": {
        "model.levels": None,
        "model.layer_levels": ((8, 16, 32, 64), (4, 8, 16, 32)),
    },
    "two levels": {"model.levels": (8, 64)},
    "seven levels": {"model.levels": (8, 11, 16, 23, 32, 45, 64), "train.levels_per_step": 7},
    JOINT: {"train.energy_penalty_weight": 0.1},
    "early exit, from rank 16 on": {"model.levels": (16, 32, 64), "model.early_exit": True},
}
"""What is changed, by name."""


def ablation(
    config: ExperimentConfig,
    save_dir: Path,
    budgets_macs: Sequence[float],
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Train at every setting, and measure.

    Args:
        config: of a perceptron with two hidden layers, the same levels in both; they hold where a
            setting gives none.
        save_dir: folder for checkpoints and weights.
        budgets_macs: as in :func:`adlrns_neuro.experiments.study.rank_study`.
        progress: draw progress bars on stderr.

    Returns:
        ``dense`` accuracy, and by setting the accuracy of each rank before and after training
        (``untrained``, ``levels``), the mean over the budgets by scorer (``budgets``), the same
        where the probe's answer counts beside that of a higher level (``stacked``), and for gates
        trained with the factors the accuracy and multiply-accumulates by price (``gated``).

    Raises:
        ConfigError: ``ADL-YML-03`` when a setting does not suit the configuration, and as
            :func:`adlrns_neuro.experiments.run.run_experiment`.
    """
    family = MODELS.get(config.model.type)
    configs = {  # All of them before anything is trained.
        name: with_settings(config, {"train.fit_gates": False, **settings})
        for name, settings in SETTINGS.items()
    }
    splits = arranged_splits(config, family)
    half = len(splits.held_out[1]) // 2
    chosen_by: Split = (splits.held_out[0][:half], splits.held_out[1][:half])
    inputs, labels = (part[half:] for part in splits.held_out)
    loaders = (
        DataLoader(TensorDataset(*splits.train), config.train.batch_size, shuffle=True),
        DataLoader(TensorDataset(*chosen_by), BATCH),
    )
    torch.manual_seed(config.seed)
    dense = family.dense(config, splits.train[0], splits.classes)
    train_dense(
        dense, config, *loaders, save_dir=save_dir / "dense", device="cpu", progress=progress
    )
    estimator = PerfEstimator(config.hardware.profile)
    found = {}
    for number, (name, own) in enumerate(configs.items()):
        model = family.ranked(dense, own, splits.train[0], estimator)
        if name == PLAIN:
            _load_plain(model, dense)
        untrained = by_level(model.eval(), inputs, labels)
        folder = save_dir / str(number)
        trainer = ADLRNSTrainer(model, own, "cpu", folder, teacher=dense, progress=progress)
        trainer.train(*loaders)
        levels = by_level(model, inputs, labels)
        ranks = own.model.ranks
        known = dict(zip(ranks, levels, strict=True))
        found[name] = {
            "untrained": _accuracies(ranks, untrained),
            "levels": _accuracies(ranks, levels),
            "budgets": {
                scorer: _mean(model, scorer, chosen_by, (inputs, labels), budgets_macs, known)
                for scorer in SCORERS.names()
            },
            "stacked": _mean(
                model, SCORER, chosen_by, (inputs, labels), budgets_macs, known, stacked=True
            ),
            "gated": [
                {"price": price, "accuracy": one.accuracy, "macs": one.macs}
                for price, one in by_price(model, inputs, labels).items()
            ]
            if name == JOINT
            else None,
        }
    return {"dense": measured(dense, inputs, labels).accuracy, "settings": found}


def _accuracies(ranks: Sequence[int], levels: Sequence[Measured]) -> dict[str, float]:
    """Of each rank."""
    return {str(rank): one.accuracy for rank, one in zip(ranks, levels, strict=True)}


def _mean(
    model: nn.Module,
    scorer: str,
    chosen_by: Split,
    measured_on: Split,
    budgets_macs: Sequence[float],
    known: Mapping[int, Any],
    *,
    stacked: bool = False,
) -> float:
    """Accuracy with one gate for the network, over the budgets."""
    adaptive = AdaptiveModel(model.eval(), chosen_by[0][:1], scorer=scorer)
    adaptive.fit(*chosen_by, stacked=stacked)
    points = [at_budget(adaptive, b, chosen_by[0], measured_on, [known]) for b in budgets_macs]
    return float(np.mean([point["accuracy"] for point in points]))


def _load_plain(model: nn.Module, dense: nn.Module) -> None:
    """Factors closest to the weights themselves, in place."""
    weights = [part.weight for part in dense.modules() if isinstance(part, nn.Linear)]
    for part, weight in zip(ranked_layers(model).values(), weights, strict=False):
        layer = part.layer
        factors = plain_svd(weight.detach().numpy(), layer.levels[-1])
        U, V = (_tensor(factor, weight) for factor in factors)
        layer.load_factors(U, V)


def _tensor(values: Any, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like)
