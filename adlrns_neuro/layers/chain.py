"""Ranked linear layers with rectifiers, in one call of the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from adlrns_neuro.functional.gated_op import gated_low_rank
from adlrns_neuro.functional.low_rank_op import runs_on_kernels
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked


def rectified_chain(x: Tensor, parts: Iterable[nn.Module], head: nn.Linear) -> Tensor | None:
    """What layers in a row make of x, each rectified, if the kernels can run them in one call.

    A full matrix comes last.

    They can where :meth:`~adlrns_neuro.layers.linear.DynamicLowRankLayer.gated_parts` of every
    layer says so, its gate alone decides, and no hook waits for its outputs.

    Args:
        x: inputs of the first layer, shape (n, in).
        parts: each takes what the one before puts out.
        head: takes what the last one puts out.

    Returns:
        Outputs of the head, shape (n, classes); None, with nothing done, if the layers have to run
        one by one.
    """
    layers, levels, ranked = [], [], []
    for part in parts:
        if not isinstance(part, Ranked) or not part.gated:
            return None
        layer = part.layer
        if not isinstance(layer, DynamicLowRankLayer) or _hooked(part, layer):
            return None
        given = layer.gated_parts(part.price())
        if given is None:
            return None
        layers.append(given)
        levels.append(len(layer.levels))
        ranked.append(part)
    last: Mapping[str, Any] = head._parameters
    matrix = [part for part in (last.get("weight"), last.get("bias")) if part is not None]
    factors = [factor for given in layers for factor in given[:2]]
    if (
        len(matrix) < 2
        or _hooked(head)
        or x.device.type != "cpu"
        or not runs_on_kernels(x, *factors, *matrix)
    ):
        return None
    outputs, chosen = gated_low_rank(x, layers, levels, head=matrix, rectified=True)
    for part, ranks in zip(ranked, chosen.unbind(), strict=True):
        part.note_ranks(ranks)
    return outputs


def _hooked(*modules: nn.Module) -> bool:
    """Whether somebody wants to know when one of some modules runs."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
