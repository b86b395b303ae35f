"""Batch normalisations behind layers whose rank varies: statistics of each level."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from adlrns_neuro.conversion.statistics import Batch, no_samples, run_model
from adlrns_neuro.layers.norm import BatchNorm, LevelBatchNorm
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.ranks import at_level, level_count


@contextmanager
def watched_order(model: nn.Module, layers: Collection[nn.Module]) -> Iterator[list[nn.Module]]:
    """The given layers and all batch normalisations in the order of their first calls inside."""
    order: dict[nn.Module, None] = {}

    def note(module: nn.Module, _: object) -> None:
        order.setdefault(module)

    called: list[nn.Module] = []
    with ExitStack() as hooks:
        for part in model.modules():
            if part in layers or _has_statistics(part):
                hooks.callback(part.register_forward_pre_hook(note).remove)
        yield called
        called += order


def level_norms(
    order: Iterable[nn.Module], new: Mapping[nn.Module, nn.Module], levels: int
) -> dict[nn.Module, nn.Module]:
    """What takes the place of the batch normalisations behind the first layer that is replaced.

    Args:
        order: of calls, see :func:`watched_order`.
        new: what takes the place of layers.
        levels: of the model.
    """
    found: dict[nn.Module, nn.Module] = {}
    follows: nn.Module | None = None
    for module in order:
        if module in new:
            follows = new[module]
        elif isinstance(module, BatchNorm) and isinstance(follows, Ranked):
            found[module] = LevelBatchNorm(module, levels, follows)
    return found


def calibrate_norms(model: nn.Module, loader: Iterable[Batch]) -> None:
    """Measure the statistics of every level of a converted model anew, in place.

    Training with :class:`~adlrns_neuro.trainer.ADLRNSTrainer` moves them along; a model that is
    only converted starts with those of the full layers, which its levels do not have. Every
    statistic becomes the mean of those of all batches, so a batch should hold dozens of samples.

    Args:
        model: with :class:`~adlrns_neuro.layers.norm.LevelBatchNorm` parts; others are left alone.
        loader: batches as of :func:`~adlrns_neuro.conversion.convert`, read once.

    Raises:
        ConfigError: ``ADL-RNK-01`` when the model has no layer whose rank can be set,
            ``ADL-CNV-04`` when the loader is empty.
    """
    levels = level_count(model)
    norms = [part for part in model.modules() if isinstance(part, LevelBatchNorm)]
    training = {part: part.training for part in model.modules()}
    momentum = [norm.momentum for norm in norms]
    model.eval()
    begun = False
    try:
        with torch.no_grad():
            for batch in loader:
                for norm in () if begun else norms:
                    norm.forget(momentum=None)
                    norm.train()
                begun = True
                for level in range(levels):
                    with at_level(model, level):
                        run_model(model, batch)
    finally:
        for part, before in training.items():
            part.training = before
        for norm, own in zip(norms, momentum, strict=True):
            norm.momentum = own
    if not begun:
        raise no_samples()


def _has_statistics(part: nn.Module) -> bool:
    """Whether it is exactly one of torch's batch normalisations, with running statistics."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return type(part) in kinds and part.running_mean is not None
