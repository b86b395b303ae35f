"""A converted model as a plain one, at one level."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from adlrns_neuro.conversion.attention import replace_modules
from adlrns_neuro.layers import (
    DynamicLowRankConv2d,
    DynamicLowRankLayer,
    LevelBatchNorm,
    LowRankLayer,
)
from adlrns_neuro.ranks import ranked_layers
from mapping.errors import ConfigError


def materialize(model: nn.Module, level: int | None = None) -> nn.Module:
    """A copy in which every low-rank layer is two plain layers, or one where that is cheaper.

    The copy answers as ``model`` does at that level, to rounding; it has no gates, and nothing of
    this package is needed to run it, but for attentions, which stay
    :class:`~adlrns_neuro.conversion.attention.SeparateAttention`.

    Args:
        model: with :class:`~adlrns_neuro.layers.ranked.Ranked` layers, which stay as they are.
        level: index of a level, the highest if None; the last of layers with fewer.

    Raises:
        ConfigError: ``ADL-RNK-01`` when there is no such layer, ``ADL-CNV-07`` when no layer has
            that level.
    """
    layers = ranked_layers(model)
    most = max(len(part.layer.levels) for part in layers.values())
    if level is not None and not 0 <= level < most:
        raise ConfigError(
            f"no layer has a level {level}",
            where="materialize.level",
            remedy=f"choose from 0 to {most - 1}",
            code="ADL-CNV-07",
        )
    plain = copy.deepcopy(model)
    shared: dict[tuple[int, int, int], nn.Sequential | nn.Linear | nn.Conv2d] = {}
    new: dict[nn.Module, nn.Module] = {}
    for part in ranked_layers(plain).values():
        layer = part.layer
        at = len(layer.levels) - 1 if level is None else min(level, len(layer.levels) - 1)
        made = _static(layer, at)
        # Layers that share factors go on to share weights, where they are of the same form.
        twin = shared.setdefault((id(layer.U), id(layer.V), id(layer.level_gain)), made)
        for ours, theirs in zip(_weighted(made), _weighted(twin), strict=True):
            ours.weight = theirs.weight
        new[part] = made.train(part.training)
    for module in plain.modules():
        if isinstance(module, LevelBatchNorm):
            new[module] = module.plain(most - 1 if level is None else level)
    if plain in new:
        return new[plain]
    replace_modules(plain, new)
    return plain


def _static(layer: LowRankLayer, level: int) -> nn.Sequential | nn.Linear | nn.Conv2d:
    """The layer at one level, its gain folded into U."""
    rank = layer.levels[level]
    with torch.no_grad():
        U, V = layer.U[:, :rank], layer.input_matrix()[:, :rank]
        if layer.level_gain is not None:
            U = U * layer.level_gain[level, :rank]
        bias = None if layer.level_bias is None else layer.level_bias[: level + 1].sum(dim=0)
        if rank * (layer.fan_in + layer.out) >= layer.fan_in * layer.out:
            return _input_layer(layer, U @ V.T, bias)
        return nn.Sequential(_input_layer(layer, V.T, None), _output_layer(layer, U, bias))


def _input_layer(layer: LowRankLayer, matrix: Tensor, bias: Tensor | None) -> nn.Linear | nn.Conv2d:
    """What reads the layer's inputs, with a weight of shape (…, fan_in)."""
    if isinstance(layer, DynamicLowRankConv2d):
        made: nn.Linear | nn.Conv2d = nn.Conv2d(
            layer.in_channels,
            len(matrix),
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            bias=bias is not None,
        )
    else:
        assert isinstance(layer, DynamicLowRankLayer), type(layer)
        made = nn.Linear(layer.in_features, len(matrix), bias=bias is not None)
    return _with(made, matrix, bias)


def _output_layer(
    layer: LowRankLayer, matrix: Tensor, bias: Tensor | None
) -> nn.Linear | nn.Conv2d:
    """What mixes the values between the factors at every position."""
    out, rank = matrix.shape
    if isinstance(layer, DynamicLowRankConv2d):
        return _with(nn.Conv2d(rank, out, 1, bias=bias is not None), matrix, bias)
    return _with(nn.Linear(rank, out, bias=bias is not None), matrix, bias)


def _with(
    made: nn.Linear | nn.Conv2d, matrix: Tensor, bias: Tensor | None
) -> nn.Linear | nn.Conv2d:
    made.weight = nn.Parameter(matrix.reshape(made.weight.shape).clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made


def _weighted(made: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [part for part in made.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
