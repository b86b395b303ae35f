"""The loop over epochs and steps, with its log and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from adlrns_neuro.config import ExperimentConfig, TrainConfig
from adlrns_neuro.training.checkpoint import (
    Position,
    load_checkpoint,
    load_weights,
    remove_leftovers,
    save_checkpoint,
    save_weights,
)
from adlrns_neuro.training.processes import prepared_loader
from adlrns_neuro.training.randomness import (
    drawn_levels,
    kept_streams,
    start_data_stream,
    step_stream,
)
from adlrns_neuro.training.scores import Scores, scores
from mapping.artifact.atomic import atomic_file
from mapping.errors import ConfigError

CHECKPOINT, BEST, LAST, LOG = (
    "checkpoint.safetensors",
    "best.safetensors",
    "last.safetensors",
    "log.jsonl",
)
UNDECAYED = ("level_bias", "level_gain", "gate")
"""Parts of a parameter's name that weight decay passes by; it passes by vectors as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """The outcome of training; the model holds the weights of the best epoch.

    Attributes:
        history: for each epoch its ``epoch`` (from 1), the mean of each loss, the learning rate
            ``lr`` that it ended with, and ``val_loss`` and ``val_accuracy`` (0 to 1) by level.
        best_epoch: of the highest mean accuracy over the levels, then of the lowest mean loss; of
            equals the latest.
        stopped_early: ended by ``TrainConfig.patience``.
        best, last: files of the weights after the best and after the last epoch.
    """

    history: tuple[Mapping[str, Any], ...]
    best_epoch: int
    stopped_early: bool
    best: Path
    last: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained on what.

    Attributes:
        objective: called with inputs, labels and the indices of levels it returns losses by name,
            "total" among them; its attribute ``model`` is what is trained. See
            :mod:`adlrns_neuro.training.objective`.
        logits: inputs → logits of the model at each level, shape (levels, n, classes).
        levels: how many there are.
        train_loader, val_loader: pairs of inputs and labels.
        epochs: passes over the training samples.
        caption: what the progress bar calls it.
    """

    objective: nn.Module
    logits: Callable[[Tensor], Tensor]
    levels: int
    train_loader: DataLoader[Any]
    val_loader: DataLoader[Any]
    epochs: int
    caption: str

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        model = self.objective.model
        assert isinstance(model, nn.Module)
        return model


def fit(
    task: Task,
    config: ExperimentConfig,
    accelerator: Accelerator,
    save_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> TrainingResult:
    """Train until the last epoch, or until validation no longer gets better.

    AdamW (Loshchilov and Hutter, 2019) under a one-cycle learning rate (Smith and Topin, 2018).

    Args:
        task: what is trained on what.
        config: how.
        accelerator: device and processes.
        save_dir: gets checkpoints, weights and the log.
        resume: go on where a run in that folder was cut off; without one there, begin.
        progress: draw a bar on stderr.

    Raises:
        ConfigError: ``ADL-TRN-03``, ``ADL-TRN-05`` to ``ADL-TRN-08``, ``ADL-TRN-10`` and
            ``ADL-TRN-11``, see :class:`adlrns_neuro.trainer.ADLRNSTrainer`.
        ArtifactError: ``ADL-ART-01`` when the folder cannot be written.
    """
    run = _Run(task, config, accelerator, save_dir)
    run.open(resume=resume)
    with (
        kept_streams(accelerator.device),
        Progress(
            console=Console(stderr=True), disable=not (progress and accelerator.is_main_process)
        ) as bar,
    ):
        line = bar.add_task(
            task.caption,
            total=task.epochs * run.steps,
            completed=run.position.epoch * run.steps + run.position.step,
        )
        while not run.position.finished:
            for _ in run.epoch():
                bar.update(line, advance=1)
            latest = run.position.history[-1]
            accuracy = sum(latest["val_accuracy"]) / task.levels
            bar.update(line, description=f"{task.caption}, validation {accuracy:.1%}")
    return run.close()


class _Run:
    """The moving parts of one call of :func:`fit`."""

    def __init__(
        self, task: Task, config: ExperimentConfig, accelerator: Accelerator, save_dir: Path
    ) -> None:
        self.task, self.config, self.train = task, config, config.train
        self.accelerator, self.save_dir = accelerator, save_dir
        self.train_loader = prepared_loader(task.train_loader, accelerator, "train_loader")
        self.val_loader = prepared_loader(task.val_loader, accelerator, "val_loader")
        self.steps = len(self.train_loader)
        optimizer = torch.optim.AdamW(_groups(task.model, self.train), lr=self.train.lr)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.train.lr, total_steps=task.epochs * self.steps
        )
        self.objective, self.optimizer = accelerator.prepare(task.objective, optimizer)
        self.position = Position(sums={})

    def open(self, *, resume: bool) -> None:
        """Begin, or go back to where the folder's run was cut off."""
        path = self.save_dir / CHECKPOINT
        if path.exists():
            if not resume:
                raise ConfigError(
                    "holds a training run, which would be overwritten",
                    where=str(self.save_dir),
                    remedy="resume it (resume=True, --resume) or choose another folder",
                    code="ADL-TRN-05",
                )
            self.position = load_checkpoint(
                path, self.task.model, self.optimizer, self.schedule, self._identity()
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            remove_leftovers(self.save_dir)
            self._write_log()

    def epoch(self) -> Iterator[None]:
        """The steps of one epoch, then its validation, log and checkpoint."""
        epoch, done = self.position.epoch, self.position.step
        start_data_stream(self.config.seed, epoch)
        self.train_loader.set_epoch(epoch)
        self.objective.train()
        sums: dict[str, Tensor | float] = dict(self.position.sums)
        for step, batch in enumerate(self.train_loader):
            if step < done:  # loaded again, so that the data stream stands where it stood
                continue
            for name, loss in self._step(epoch * self.steps + step, *_pair(batch)).items():
                sums[name] = sums.get(name, 0.0) + loss
            every = self.train.checkpoint_steps
            if every is not None and (step + 1) % every == 0 and step + 1 < self.steps:
                means = self._reduced(sums)
                sums = {**means}
                self.position = replace(self.position, step=step + 1, sums=means)
                self._save()
            yield
        self._end_epoch(self._reduced(sums))

    def close(self) -> TrainingResult:
        """Write the last weights, load the best."""
        best, last = self.save_dir / BEST, self.save_dir / LAST
        position = self.position
        if self.accelerator.is_main_process:
            save_weights(self.task.model, last, {"epoch": position.epoch})
        self.accelerator.wait_for_everyone()
        load_weights(self.task.model, best)
        return TrainingResult(
            history=position.history,
            best_epoch=position.best_epoch,
            stopped_early=position.epoch < self.task.epochs,
            best=best,
            last=last,
        )

    def _step(self, number: int, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step; its losses, without gradients, in double precision."""
        accelerator, seed = self.accelerator, self.config.seed
        levels = drawn_levels(seed, number, self.task.levels, self.train.levels_per_step)
        with step_stream(seed, number, accelerator.process_index, accelerator.device):
            losses: dict[str, Tensor] = self.objective(inputs, labels, levels)
            self.optimizer.zero_grad()
            accelerator.backward(losses["total"])
            accelerator.clip_grad_norm_(self.objective.parameters(), self.train.clip_norm)
            self.optimizer.step()
            self.schedule.step()
        return {name: loss.detach().double() for name, loss in losses.items()}

    def _end_epoch(self, sums: Mapping[str, float]) -> None:
        epoch = self.position.epoch + 1
        found = scores(self.task.model, self.val_loader, self.task.logits, self.accelerator)
        record = {
            "epoch": epoch,
            **{name: total / self.steps for name, total in sums.items()},
            "lr": self.schedule.get_last_lr()[0],
            "val_loss": list(found.loss),
            "val_accuracy": list(found.accuracy),
        }
        best_epoch = self.position.best_epoch
        if best_epoch == 0 or found.merit >= self._merit_of(best_epoch):
            best_epoch = epoch
            if self.accelerator.is_main_process:
                save_weights(self.task.model, self.save_dir / BEST, {"epoch": epoch})
        patience = self.train.patience
        stop = patience is not None and epoch - best_epoch >= patience
        self.position = Position(
            epoch=epoch,
            best_epoch=best_epoch,
            finished=stop or epoch == self.task.epochs,
            sums={},
            history=(*self.position.history, record),
        )
        self._save()
        if self.accelerator.is_main_process:
            self._write_log()

    def _merit_of(self, epoch: int) -> tuple[float, float]:
        record = self.position.history[epoch - 1]
        return Scores(loss=record["val_loss"], accuracy=record["val_accuracy"]).merit

    def _reduced(self, sums: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Means over the processes.

        Raises:
            ConfigError: ``ADL-TRN-11`` when training has diverged.
        """
        means = {}
        for name, total in sums.items():
            value = torch.as_tensor(total, dtype=torch.float64, device=self.accelerator.device)
            means[name] = float(self.accelerator.reduce(value, reduction="mean"))
        if not all(torch.tensor(value).isfinite() for value in means.values()):
            raise ConfigError(
                f"the losses of epoch {self.position.epoch + 1} add up to {means}",
                where="train",
                remedy="lower train.lr or train.clip_norm, and look for infinite inputs",
                code="ADL-TRN-11",
            )
        return means

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.save_dir / CHECKPOINT,
                self.task.model,
                self.optimizer,
                self.schedule,
                self.position,
                self._identity(),
            )

    def _write_log(self) -> None:
        """The history, a line for each epoch; what a cut-off run wrote beyond is gone."""
        with atomic_file(self.save_dir / LOG) as work:
            work.write_text("".join(f"{json.dumps(r)}\n" for r in self.position.history))

    def _identity(self) -> dict[str, Any]:
        """What has to be as it was for a run to go on as it would have."""
        return {
            "config": self.config.model_dump(
                mode="json",
                by_alias=True,
                exclude={"name": True, "data": {"dir"}, "train": {"checkpoint_steps", "epochs"}},
            ),
            "epochs": self.task.epochs,
            "steps": self.steps,
            "processes": self.accelerator.num_processes,
        }


def _groups(model: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
    """Parameters with and without weight decay."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            passes = parameter.ndim < 2 or any(part in name.split(".") for part in UNDECAYED)
            (others if passes else decayed).append(parameter)
    groups = ((decayed, train.weight_decay), (others, 0.0))
    return [{"params": some, "weight_decay": decay} for some, decay in groups if some]


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Inputs and labels of a batch."""
    match batch:
        case [Tensor() as inputs, Tensor() as labels]:
            if labels.shape == inputs.shape[:1] and labels.dtype == torch.int64:
                return inputs, labels
    raise ConfigError(
        f"a batch is {_described(batch)}",
        where="train_loader",
        remedy="yield pairs of inputs, shape (n, ...), and labels, shape (n,), int64",
        code="ADL-TRN-10",
    )


def _described(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a {batch.dtype} tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, list | tuple):
        return f"{len(batch)} parts: {', '.join(map(_described, batch))}"
    return type(batch).__name__
