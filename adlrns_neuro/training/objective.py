"""What a step minimises, as modules, so that data-parallel wrappers see one forward per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.config import SchedulerConfig, TrainConfig
from adlrns_neuro.layers.ranked import RankedModule
from adlrns_neuro.layers.spiking import Activity
from adlrns_neuro.ranks import at_level, forward_levels, ranked_parts
from mapping.errors import ConfigError


class DenseObjective(nn.Module):
    """Cross-entropy of a model without levels, and of a spiking one its activity.

    Args:
        model: inputs → logits (n, classes). One that spikes has a method
            ``forward_active(inputs)`` that returns besides logits what there is to penalise: by the
            name ``activity`` the mean firing rate of its hidden neurons.
        train: the penalty's weight.

    Raises:
        ConfigError: ``ADL-TRN-12`` when what is penalised is not there.
    """

    def __init__(self, model: nn.Module, train: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self._penalties = _penalties(model, activity=train.activity_penalty)

    def forward(self, inputs: Tensor, labels: Tensor, levels: Sequence[int]) -> dict[str, Tensor]:
        """The losses of a batch; ``levels`` play no part."""
        run = _spiking_run(self.model)
        if run is None:
            logits = self.model(inputs)
            check_labels(labels, logits.shape[-1])
            return {"total": F.cross_entropy(logits, labels)}
        logits, active = run(inputs)
        check_labels(labels, logits.shape[-1])
        losses = {"labels": F.cross_entropy(logits, labels), **active}
        return losses | {"total": losses["labels"] + _penalty(active, self._penalties)}


class NestedObjective(nn.Module):
    """All levels against the labels and against a teacher; with an energy price, the gates too.

    With λ the penalty's weight, d the distillation share and T its temperature, the loss is

        mean over levels k of (1 - d) CE(y_k) + d T² KL(teacher / T ‖ y_k / T)
        + [λ > 0] (CE(y_gate) + λ E) + P

    where y_gate is the output at the ranks that the gates decide on, with gradients through their
    soft decision, and E the mean of the parts' expected cost. The teacher's term is that of Hinton
    et al. (2015); without a teacher d is 0. P penalises the activity of spiking models: the mean
    firing rate of hidden neurons, and the mean magnitude that relays send in a step, both over all
    levels, by their weights.

    Args:
        model: with parts whose rank can be set, inputs → logits (n, classes). One that spikes has
            a method ``forward_active(inputs, levels)`` that returns logits (levels, n, classes) and
            what there is to penalise, by the names ``activity`` and ``relays``.
        train: d, T, λ and the weights of P.
        scheduler: weights of operations and of memory in E.
        teacher: a trained model of the same inputs and outputs.

    Raises:
        ConfigError: ``ADL-RNK-01`` without ranked parts, ``ADL-TRN-12`` when what is penalised is
            not there.
    """

    def __init__(
        self,
        model: nn.Module,
        train: TrainConfig,
        scheduler: SchedulerConfig,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._parts = ranked_parts(model)
        self._train_config = train
        self._scheduler = scheduler
        # In a tuple it is no sub-module: neither trained, nor saved, nor kept equal by wrappers.
        self._teacher = (teacher,)
        self._penalties = _penalties(
            model, activity=train.activity_penalty, relays=train.relay_penalty
        )
        joint = train.energy_penalty_weight > 0
        for part in self._parts.values():
            part.gate.requires_grad_(joint)

    def forward(self, inputs: Tensor, labels: Tensor, levels: Sequence[int]) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            inputs: of the model.
            labels: shape (n,), int64.
            levels: indices of the levels to train.
        """
        config = self._train_config
        run, active = _spiking_run(self.model), Activity()
        if run is None:
            logits = forward_levels(self.model, inputs, levels)
        else:
            logits, active = run(inputs, levels)
        check_labels(labels, logits.shape[-1])
        flat = logits.flatten(0, 1)
        losses = {"labels": F.cross_entropy(flat, labels.repeat(len(levels)))}
        total = losses["labels"]
        (teacher,) = self._teacher
        if teacher is not None:
            with torch.no_grad():
                targets = F.log_softmax(teacher(inputs) / config.temperature, dim=-1)
            losses["teacher"] = config.temperature**2 * F.kl_div(
                F.log_softmax(flat / config.temperature, dim=-1),
                targets.repeat(len(levels), 1),
                reduction="batchmean",
                log_target=True,
            )
            total = torch.lerp(total, losses["teacher"], config.distillation_share)
        if config.energy_penalty_weight > 0:
            gated, losses["energy"] = self._gated(inputs)
            losses["gated"] = F.cross_entropy(gated, labels)
            total = total + losses["gated"] + config.energy_penalty_weight * losses["energy"]
        if active:
            losses |= active
            total = total + _penalty(active, self._penalties)
        return losses | {"total": total}

    def _gated(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs at the gates' ranks, and E: the mean over parts and samples."""
        alpha, beta = self._scheduler.alpha, self._scheduler.beta
        costs: list[Tensor] = []

        def price(part: nn.Module, args: tuple[Tensor, ...]) -> None:
            assert isinstance(part, RankedModule)
            costs.append(part.expected_cost(args[0], alpha=alpha, beta=beta).mean())

        hooks = [part.register_forward_pre_hook(price) for part in self._parts.values()]
        try:
            with at_level(self.model, None):
                outputs = self.model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs, torch.stack(costs).mean()


def _spiking_run(model: nn.Module) -> Callable[..., tuple[Tensor, Activity]] | None:
    """The method of a spiking model that tells how active it was."""
    return getattr(model, "forward_active", None)


def _penalties(model: nn.Module, **weights: float) -> dict[str, float]:
    """Weights of what is penalised, by name."""
    if any(weights.values()) and _spiking_run(model) is None:
        raise ConfigError(
            "the model has no spikes to penalise",
            where="train",
            remedy="leave activity_penalty and relay_penalty at 0, or train a spiking model, which "
            "has a method forward_active",
            code="ADL-TRN-12",
        )
    return weights


def _penalty(active: Activity, weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weight * active[name] for name, weight in weights.items()]).sum()


def check_labels(labels: Tensor, classes: int, *, where: str = "train_loader.labels") -> None:
    """Refuse labels that are no class of the model.

    Raises:
        ConfigError: ``ADL-TRN-03``.
    """
    low, high = (int(edge) for edge in labels.aminmax())
    if low < 0 or high >= classes:
        raise ConfigError(
            f"labels run from {low} to {high}, the model has {classes} classes",
            where=where,
            remedy="number the classes from 0 and give the model an output for each",
            code="ADL-TRN-03",
        )
