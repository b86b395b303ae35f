"""Training of one spiking network for every rank level.

Three stages: a dense teacher learns the task; its input matrix is factored by activation-whitened
SVD at the largest rank; then one set of factors is trained at all levels in every step ("nested"
training), each level against the labels and against the teacher. Weights come from the train
split, the choice of the epoch to keep from the calibration split; nothing here sees a test split.

Logits are readout spike counts times a scale. Counts are integers, and the arctangent surrogate
carries the gradient through them, so no other readout is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.data.digits import DigitsSplits
from adlrns_neuro.evaluation import Examples, accuracy_by_rank, encode
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SpikeTrains
from adlrns_neuro.models.snn_config import SnnConfig, check_opening
from mapping.errors import ConfigError
from mapping.lowrank import second_moment

READOUT_LIMIT = 6.0
"""Largest weight of a trained readout, in root mean squares of all. Very few grow larger, and what
they add makes no difference to voltages that are far from the threshold; but a chip's 8 bits for
the largest leave the others without resolution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How to train; the defaults suit the digits.

    Attributes:
        seed: decides initial weights and the order of the samples.
        teacher_epochs, nested_epochs: passes over the train split in the two stages.
        batch_size: samples per step.
        learning_rate: peak of the one-cycle schedule (Smith and Topin, 2018).
        weight_decay: of AdamW; it also keeps the weights in a range that 8 bits resolve.
        logit_scale: logit per readout spike.
        distillation_share: weight of the teacher's loss term, the labels get the rest.
        temperature: softens both distributions in the teacher's term (Hinton et al., 2015).
        activity_penalty: loss per unit of mean hidden firing rate (spikes per neuron and step).
        relay_penalty: loss per unit of mean magnitude that a relay sends in a step.
        open_at: step from which on nested training feeds the rank blocks above the first; as late
            as a gate would open them, or 0 for networks that run at one rank.

    Raises:
        ConfigError: ``ADL-TRN-01`` when a field is out of its range.
    """

    seed: int = 0
    teacher_epochs: int = 25
    nested_epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    logit_scale: float = 0.5
    distillation_share: float = 0.7
    temperature: float = 2.0
    activity_penalty: float = 0.3
    relay_penalty: float = 0.0
    open_at: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "teacher_epochs": (self.teacher_epochs >= 1, "at least 1"),
            "nested_epochs": (self.nested_epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "of 0 or more"),
            "logit_scale": (self.logit_scale > 0, "above 0"),
            "distillation_share": (0 <= self.distillation_share <= 1, "from 0 to 1"),
            "temperature": (self.temperature > 0, "above 0"),
            "activity_penalty": (self.activity_penalty >= 0, "of 0 or more"),
            "relay_penalty": (self.relay_penalty >= 0, "of 0 or more"),
            "open_at": (self.open_at >= 0, "of 0 or more"),
            "seed": (0 <= self.seed < 2**32, "from 0 to 2**32 - 1"),
        }
        for name, (legal, allowed) in ranges.items():
            if not legal:
                raise ConfigError(
                    f"{getattr(self, name)} is out of range",
                    where=f"TrainingConfig.{name}",
                    remedy=f"choose a value {allowed}",
                    code="ADL-TRN-01",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedSnn:
    """The outcome of training.

    Attributes:
        model: the network for every rank.
        teacher: the dense network that it learnt from.
        calibration_accuracy: accuracy on the calibration split by rank, 0 to 1, with blocks
            opening at ``TrainingConfig.open_at``. The epoch was chosen by it, so it is optimistic;
            report the test split.
        teacher_calibration_accuracy: the same of the teacher.
    """

    model: LowRankSNN
    teacher: DenseSNN
    calibration_accuracy: Mapping[int, float]
    teacher_calibration_accuracy: float


def train_digits_snn(
    splits: DigitsSplits, snn: SnnConfig, training: TrainingConfig, *, progress: bool = True
) -> TrainedSnn:
    """Train on digits in the coding of ``snn``; ``splits.test`` is not touched.

    The other arguments, the result and the errors are those of :func:`train_snn`.
    """
    return train_snn(
        encode(splits.train, snn.steps, snn.coding),
        encode(splits.calibration, snn.steps, snn.coding),
        snn,
        training,
        progress=progress,
    )


def train_snn(
    train: Examples,
    calibration: Examples,
    snn: SnnConfig,
    training: TrainingConfig,
    *,
    progress: bool = True,
) -> TrainedSnn:
    """Train a dense teacher, factor it, and train the factors at every level.

    The same arguments give bit-identical weights on the same machine: the random stream starts at
    ``training.seed`` and the work runs on one thread, which is also the fastest at this size. The
    caller's random state and thread count are put back.

    Args:
        train: what the weights are fitted to.
        calibration: what the epoch to keep is chosen by.
        snn: sizes and constants of the network.
        training: how to train.
        progress: draw a progress bar on stderr for either stage.

    Raises:
        ConfigError: ``ADL-TRN-03`` when a label is no class of the network, ``ADL-TRN-04`` when
            blocks would open after the last step, ``ADL-SNN-01`` or ``ADL-SNN-02`` when the
            payloads do not fit the network.
    """
    check_examples(snn, train=train, calibration=calibration)
    check_opening(snn, training.open_at, where="TrainingConfig.open_at")
    with _reproducibly(training.seed):
        teacher = DenseSNN(snn)
        teacher_accuracy = _fit_dense(
            teacher, train, calibration, training, training.teacher_epochs, "teacher", progress
        )
        model = _factored(teacher, train)
        _fit_nested(model, teacher, train, calibration, training, progress)
        return TrainedSnn(
            model=model,
            teacher=teacher,
            calibration_accuracy=accuracy_by_rank(model, calibration, open_at=training.open_at),
            teacher_calibration_accuracy=teacher_accuracy,
        )


def train_dense_snn(
    train: Examples,
    calibration: Examples,
    snn: SnnConfig,
    training: TrainingConfig,
    *,
    progress: bool = True,
) -> DenseSNN:
    """Train a dense network to compare with, for as many epochs as :func:`train_snn` takes in all.

    Arguments and errors are those of :func:`train_snn`.
    """
    check_examples(snn, train=train, calibration=calibration)
    with _reproducibly(training.seed):
        dense = DenseSNN(snn)
        epochs = training.teacher_epochs + training.nested_epochs
        _fit_dense(dense, train, calibration, training, epochs, "dense", progress)
        return dense


def limit_readout(model: LowRankSNN | DenseSNN) -> None:
    """Bring a trained readout's weights within :data:`READOUT_LIMIT`, in place.

    To be called before the gate is fitted and the network exported.
    """
    weight = model.output_projection.weight
    with torch.no_grad():
        limit = READOUT_LIMIT * weight.square().mean().sqrt()
        weight.copy_(torch.clamp(weight, -limit, limit))


def check_examples(snn: SnnConfig, **splits: Examples) -> None:
    """Refuse labels that are no class of the network.

    Raises:
        ConfigError: ``ADL-TRN-03``, naming the split.
    """
    for name, examples in splits.items():
        if not ((examples.labels >= 0) & (examples.labels < snn.classes)).all():
            raise ConfigError(
                f"labels run from {int(examples.labels.min())} to {int(examples.labels.max())}, "
                f"the network has {snn.classes} classes",
                where=f"{name}.labels",
                remedy="number the classes from 0 and set SnnConfig.classes",
                code="ADL-TRN-03",
            )


def _fit_dense(
    dense: DenseSNN,
    train: Examples,
    calibration: Examples,
    training: TrainingConfig,
    epochs: int,
    caption: str,
    progress: bool,
) -> float:
    """Fit a dense network in place; its accuracy on the calibration split."""

    def loss(batch: Tensor) -> Tensor:
        trains: SpikeTrains = dense(train.payloads[:, batch])
        label_loss = F.cross_entropy(trains.counts * training.logit_scale, train.labels[batch])
        return label_loss + training.activity_penalty * trains.hidden.mean()

    def score() -> float:
        right = sum(
            int((dense.predict(p.payloads) == p.labels).sum()) for p in calibration.chunks()
        )
        return right / len(calibration.labels)

    return _fit(
        dense,
        loss,
        score,
        samples=len(train.labels),
        epochs=epochs,
        training=training,
        caption=caption,
        progress=progress,
    )


def _factored(teacher: DenseSNN, train: Examples) -> LowRankSNN:
    """The teacher with its input matrix replaced by whitened factors at the largest rank."""
    snn = teacher.config
    moments = [
        second_moment((part.payloads.flatten(0, 1) * snn.payload_scale).numpy())
        * (len(part.labels) / len(train.labels))
        for part in train.chunks()
    ]
    return LowRankSNN.from_dense(teacher, torch.from_numpy(np.sum(moments, axis=0)))


def _fit_nested(
    model: LowRankSNN,
    teacher: DenseSNN,
    train: Examples,
    calibration: Examples,
    training: TrainingConfig,
    progress: bool,
) -> None:
    """Fit the factors in place, all levels in every step."""
    temperature = training.temperature
    with torch.no_grad():
        counts = torch.cat([teacher(part.payloads).counts for part in train.chunks()])
        teacher_logits = counts * training.logit_scale
    targets = F.softmax(teacher_logits / temperature, dim=-1)

    def loss(batch: Tensor) -> Tensor:
        trains = model.forward_levels(train.payloads[:, batch], open_at=training.open_at)
        assert trains.relayed is not None
        logits = trains.counts * training.logit_scale
        levels = logits.shape[0]
        label_loss = F.cross_entropy(logits.flatten(0, 1), train.labels[batch].repeat(levels))
        teacher_loss = temperature**2 * F.kl_div(
            F.log_softmax(logits.flatten(0, 1) / temperature, dim=-1),
            targets[batch].repeat(levels, 1),
            reduction="batchmean",
        )
        share = training.distillation_share
        return (
            (1.0 - share) * label_loss
            + share * teacher_loss
            + training.activity_penalty * trains.hidden.mean()
            + training.relay_penalty * trains.relayed.abs().mean()
        )

    def score() -> float:
        accuracies = accuracy_by_rank(model, calibration, open_at=training.open_at)
        return sum(accuracies.values()) / len(accuracies)

    _fit(
        model,
        loss,
        score,
        samples=len(train.labels),
        epochs=training.nested_epochs,
        training=training,
        caption="nested",
        progress=progress,
    )


def _fit(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    score: Callable[[], float],
    *,
    samples: int,
    epochs: int,
    training: TrainingConfig,
    caption: str,
    progress: bool,
) -> float:
    """AdamW with a one-cycle schedule; leaves the weights of the best epoch, returns its score.

    Args:
        model: what is fitted, in place.
        loss: scalar loss of a batch, given as indices of samples, shape (batch,).
        score: figure of merit on the calibration split; of equal epochs the latest wins.
        samples: number of training samples.
        epochs: passes over them.
        training: learning rate, weight decay and batch size.
        caption: what the progress bar calls this stage.
        progress: draw the bar.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=training.learning_rate,
        total_steps=epochs * math.ceil(samples / training.batch_size),
    )
    best_score, best_weights = -math.inf, model.state_dict()
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(caption, total=epochs)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(samples), training.batch_size):
                optimizer.zero_grad()
                torch.autograd.backward(loss(batch))
                optimizer.step()
                schedule.step()
            epoch_score = score()
            if epoch_score >= best_score:
                best_score = epoch_score
                best_weights = {name: w.clone() for name, w in model.state_dict().items()}
            bar.update(task, advance=1, description=f"{caption}, calibration {best_score:.1%}")
    model.load_state_dict(best_weights)
    return best_score


@contextmanager
def _reproducibly(seed: int) -> Iterator[None]:
    """One thread and a random stream of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
