"""Fitting all gates of a trained model to held-out samples."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adlrns_neuro.gates.fit import fit_gate
from adlrns_neuro.layers.ranked import RankedModule
from adlrns_neuro.ranks import at_level, level_count, ranked_parts


def fit_gates(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], accelerator: Accelerator
) -> None:
    """Regress by how much each level of each part lowers the probability of a wrong answer.

    In place. A part's levels are compared while all others run at their highest, so that each gate
    learns what its own part gains. The model takes 1 + Σ (K - 1) passes over the samples, K the
    levels of a part.

    Args:
        model: with trained factors, inputs → logits (n, classes); only its gates change.
        loader: samples that the factors were not fitted to, prepared by ``accelerator``.
        accelerator: brings the parts of the processes together.

    Raises:
        ConfigError: ``ADL-RNK-01`` without ranked parts, ``ADL-GAT-02`` when a loss or feature is
            not finite.
    """
    parts = ranked_parts(model)
    training = model.training
    model.eval()
    features: dict[str, list[Tensor]] = {name: [] for name in parts}
    losses: dict[str, list[Tensor]] = {name: [] for name in parts}
    with torch.no_grad():
        for inputs, labels in loader:
            read, by_level = _batch(model, parts, inputs, labels)
            for name in parts:
                whole = accelerator.gather_for_metrics((read[name], by_level[name]))
                samples, f = len(whole[0]), whole[0].shape[-1]
                per_sample = whole[0].reshape(samples, -1, f)
                features[name].append(per_sample.flatten(0, 1))
                losses[name].append(whole[1].repeat_interleave(per_sample.shape[1], dim=0))
    model.train(training)
    for name, part in parts.items():
        fit_gate(part.gate, torch.cat(features[name]), torch.cat(losses[name]))


def _batch(
    model: nn.Module, parts: dict[str, RankedModule], inputs: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What each gate reads, shape (n, ..., f), and its part's error by level, shape (n, K)."""
    read: dict[str, Tensor] = {}

    def reader(name: str, part: RankedModule) -> torch.utils.hooks.RemovableHandle:
        def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            read[name] = part.features(args[0])

        return part.register_forward_pre_hook(keep)

    def loss() -> Tensor:
        right: Tensor = model(inputs).softmax(dim=-1).gather(-1, labels[:, None])
        return 1.0 - right[:, 0]

    by_level = {}
    with at_level(model, level_count(model) - 1):
        hooks = [reader(name, part) for name, part in parts.items()]
        try:
            highest = loss()
        finally:
            for hook in hooks:
                hook.remove()
        for name, part in parts.items():
            below = []
            for level in range(len(part.levels) - 1):
                with at_level(part, level):
                    below.append(loss())
            by_level[name] = torch.stack([*below, highest], dim=1)
    return read, by_level
