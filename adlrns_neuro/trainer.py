"""Training of any model with low-rank layers, for all their ranks at once.

    trainer = ADLRNSTrainer(model, load_config(Path("digits.yaml")), "cpu", Path("out/digits"))
    result = trainer.train(train_loader, val_loader, num_epochs=24)

The recipe that is the default: factors from a trained dense network, all levels in every step, its
answers beside the labels; then the gates, fitted to samples that the factors have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from adlrns_neuro.config import ExperimentConfig, parse_config
from adlrns_neuro.gates.fit_model import fit_gates
from adlrns_neuro.ranks import forward_levels, level_count, ranked_parts
from adlrns_neuro.training.checkpoint import save_weights
from adlrns_neuro.training.loop import Task, TrainingResult, fit
from adlrns_neuro.training.objective import DenseObjective, NestedObjective
from adlrns_neuro.training.processes import accelerator_on, prepared_loader
from adlrns_neuro.training.randomness import kept_streams

GATED = "gated.safetensors"


class ADLRNSTrainer:
    """Trains a model for all ranks of its layers.

    Runs unchanged on one CPU or GPU and, started by ``torchrun`` or ``accelerate launch``, in
    several processes; loaders then give each its part of every batch. A run that was killed goes on
    with ``resume=True`` to the weights that it would have had, bit for bit on the same machine as
    far as its kernels are deterministic, as those of CPUs are: its
    data are loaded again up to where it stood, and all that is random follows from the seed and the
    position. Data sets that keep a random state of their own from epoch to epoch are beyond that.

    Args:
        model: any module with parts whose rank can be set, such as
            :class:`~adlrns_neuro.layers.ranked.Ranked` layers, inputs → logits (n, classes).
            Trained in place.
        config: how to train, or the keys of a configuration.
        device: as in :func:`adlrns_neuro.training.processes.accelerator_on`.
        save_dir: folder for ``checkpoint.safetensors``, ``best.safetensors`` and
            ``last.safetensors`` (weights), ``gated.safetensors`` (the best with fitted gates) and
            ``log.jsonl``.
        teacher: a trained model of the same inputs and outputs to learn from; without one the
            labels have all the weight.
        resume: go on where a run in that folder was cut off; without one there, begin.
        progress: draw a progress bar on stderr.

    Attributes:
        history: as in :class:`~adlrns_neuro.training.loop.TrainingResult`; empty before training.

    Raises:
        ConfigError: ``ADL-RNK-01`` when the model has no layer whose rank can be set,
            ``ADL-TRN-09`` when there is no such device, ``ADL-YML-02`` or ``ADL-YML-03`` on wrong
            keys.
    """

    def __init__(
        self,
        model: nn.Module,
        config: ExperimentConfig | Mapping[str, Any],
        device: str | torch.device | None = None,
        save_dir: Path | str = "out/training",
        *,
        teacher: nn.Module | None = None,
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        ranked_parts(model)
        self.config = config if isinstance(config, ExperimentConfig) else parse_config(config)
        self.save_dir = Path(save_dir)
        self.resume, self.progress = resume, progress
        self.accelerator = accelerator_on(device, self.config.seed)
        self.model = model.to(self.accelerator.device)
        self.teacher = None if teacher is None else teacher.to(self.accelerator.device).eval()
        self.history: tuple[Mapping[str, Any], ...] = ()

    def train(
        self,
        train_loader: DataLoader[Any],
        val_loader: DataLoader[Any],
        num_epochs: int | None = None,
    ) -> TrainingResult:
        """Train the factors, and the gates with them or after them.

        Args:
            train_loader: pairs of inputs and int64 labels, shape (n,); its batch size is that of
                all processes together.
            val_loader: the same of held-out samples: they choose the epoch and fit the gates, so
                report figures on others.
            num_epochs: those of the configuration if None.

        Returns:
            The history and where the weights are; the model holds the best, with fitted gates if
            ``TrainConfig.fit_gates``.

        Raises:
            ConfigError: ``ADL-TRN-03`` when a label is no class of the model, ``ADL-TRN-05`` when
                the folder holds a run and ``resume`` is not set, ``ADL-TRN-06`` when that run was
                another, ``ADL-TRN-07`` when its files are damaged, ``ADL-TRN-08`` when the batch
                size is no multiple of the processes, ``ADL-TRN-10`` on batches that are no such
                pairs, ``ADL-TRN-11`` when training diverges,
                ``ADL-TRN-12`` when the spikes of a model without any are penalised.
            ArtifactError: ``ADL-ART-01`` when the folder cannot be written.
        """
        config = self.config
        result = fit(
            Task(
                objective=NestedObjective(self.model, config.train, config.scheduler, self.teacher),
                logits=lambda inputs: forward_levels(self.model, inputs),
                levels=level_count(self.model),
                train_loader=train_loader,
                val_loader=val_loader,
                epochs=config.train.epochs if num_epochs is None else num_epochs,
                caption="nested",
            ),
            config,
            self.accelerator,
            self.save_dir,
            resume=self.resume,
            progress=self.progress,
        )
        self.history = result.history
        for part in ranked_parts(self.model).values():
            part.gate.requires_grad_(True)
        if config.train.fit_gates and config.train.energy_penalty_weight == 0:
            loader = prepared_loader(val_loader, self.accelerator, "val_loader")
            with kept_streams(self.accelerator.device):
                fit_gates(self.model, loader, self.accelerator)
            if self.accelerator.is_main_process:
                about = {"epoch": result.best_epoch}
                save_weights(self.model, self.save_dir / GATED, about)
        return result


def train_dense(
    model: nn.Module,
    config: ExperimentConfig,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    *,
    save_dir: Path,
    device: str | torch.device | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train a model without levels: the teacher, or a network to compare with.

    Args:
        model: inputs → logits (n, classes), trained in place for ``TrainConfig.teacher_epochs``.
        config, train_loader, val_loader, save_dir, device, resume, progress: as in
            :class:`ADLRNSTrainer`.

    Raises:
        ConfigError: as in :meth:`ADLRNSTrainer.train`.
    """
    accelerator = accelerator_on(device, config.seed)
    model.to(accelerator.device)

    def logits(inputs: Tensor) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs[None]

    task = Task(
        objective=DenseObjective(model, config.train),
        logits=logits,
        levels=1,
        train_loader=train_loader,
        val_loader=val_loader,
        epochs=config.train.teacher_epochs or config.train.epochs,
        caption="dense",
    )
    return fit(task, config, accelerator, save_dir, resume=resume, progress=progress)
