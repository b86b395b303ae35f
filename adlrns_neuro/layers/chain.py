"""Ranked linear layers with rectifiers, in one call of the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.gated_op import gated_low_rank
from adlrns_neuro.functional.leveled_op import leveled_low_rank
from adlrns_neuro.functional.low_rank_op import runs_on_kernels
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked


def rectified_chain(x: Tensor, parts: Iterable[nn.Module], head: nn.Linear) -> Tensor | None:
    """What layers in a row make of x, each rectified, if the kernels can run them in one call.

    A full matrix comes last.

    They can where every layer's own gate alone decides, as
    :meth:`~adlrns_neuro.layers.linear.DynamicLowRankLayer.gated_parts` says, or the level of all
    is set, and no hook waits for their outputs.

    Args:
        x: inputs of the first layer, shape (n, in).
        parts: each takes what the one before puts out.
        head: takes what the last one puts out.

    Returns:
        Outputs of the head, shape (n, classes); None, with nothing done, if the layers have to run
        one by one.
    """
    ranked = []
    for part in parts:
        if not isinstance(part, Ranked):
            return None
        layer = part.layer
        if not isinstance(layer, DynamicLowRankLayer) or _hooked(part, layer):
            return None
        ranked.append(part)
    last: Mapping[str, Any] = head._parameters
    matrix = [part for part in (last.get("weight"), last.get("bias")) if part is not None]
    if len(matrix) < 2 or _hooked(head) or x.device.type != "cpu":
        return None
    if all(part.gated for part in ranked):
        return _at_gates(x, ranked, matrix)
    level = ranked[0].level
    if level is not None and all(part.level is level for part in ranked):
        return _at_levels(x, ranked, matrix, level)
    return None


def _at_gates(x: Tensor, ranked: Sequence[Ranked], matrix: Sequence[Tensor]) -> Tensor | None:
    """At the levels that each layer's gate chooses."""
    layers, levels = [], []
    for part in ranked:
        layer = part.layer
        assert isinstance(layer, DynamicLowRankLayer)
        given = layer.gated_parts(part.price())
        if given is None:
            return None
        layers.append(given)
        levels.append(len(layer.levels))
    factors = [factor for given in layers for factor in given[:2]]
    if not runs_on_kernels(x, *factors, *matrix):
        return None
    outputs, chosen = gated_low_rank(x, layers, levels, head=matrix, rectified=True)
    for part, ranks in zip(ranked, chosen.unbind(), strict=True):
        part.note_ranks(ranks)
    return outputs


def _at_levels(
    x: Tensor, ranked: Sequence[Ranked], matrix: Sequence[Tensor], level: int | Tensor
) -> Tensor | None:
    """At one level for all samples, or one for each, the same in all layers."""
    leader, first_block = ranked[0].layer, ranked[0].first_block
    layers = []
    for part in ranked:
        layer = part.layer
        assert isinstance(layer, DynamicLowRankLayer)
        known = layer is leader and first_block is not None and len(layer.levels) > 1
        given = layer.leveled_parts(beyond_first=known)
        if given is None or len(layer.levels) != len(leader.levels):
            return None
        layers.append(given)
    factors = [factor for given in layers for factor in given[:2]]
    if not runs_on_kernels(x, *factors, *matrix):
        return None
    top = len(layers[0].ranks) - 1
    if isinstance(level, int):
        levels = torch.full((len(x),), min(level, top))
    else:
        levels = level.clamp(max=top)
    start = None
    if first_block is not None and top > 0:
        assert isinstance(leader, DynamicLowRankLayer)
        start = leader.begun(first_block(x), levels)
    outputs = leveled_low_rank(x, layers, levels, head=matrix, start=start, rectified=True)
    for part in ranked:
        part.note_levels(level)
    return outputs


def _hooked(*modules: nn.Module) -> bool:
    """Whether somebody wants to know when one of some modules runs."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
