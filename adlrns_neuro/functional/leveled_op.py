"""Low-rank layers at given levels, as one operator of torch.

``torch.ops.adlrns.leveled_low_rank`` is one call of the kernels of :mod:`simulators.kernels` on the
CPU, which can be compiled and exported like torch's own operators. It has no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_NAME = "adlrns::leveled_low_rank"
torch.library.define(
    _NAME,
    "(Tensor x, Tensor[] parts, Tensor[] head, Tensor levels, Tensor? start, bool rectified) "
    "-> Tensor",
)
_OPERATOR = torch.ops.adlrns.leveled_low_rank.default


class LeveledParts(NamedTuple):
    """What a layer runs on, all on the CPU; float32 but for the ranks.

    Attributes:
        U, V: factors, shapes (out, r_max) and (in, r_max).
        ranks: of the K levels, ascending from 0 on, int64.
        level_bias: shape (K, out); of no element without biases.
    """

    U: Tensor
    V: Tensor
    ranks: Tensor
    level_bias: Tensor


SIZE = len(LeveledParts._fields)
"""Of the parts of a layer."""


def leveled_low_rank(
    x: Tensor,
    layers: Sequence[LeveledParts],
    levels: Tensor,
    *,
    head: Sequence[Tensor] = (),
    start: Tensor | None = None,
    rectified: bool,
) -> Tensor:
    """Layer after layer U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i, at each sample's level.

    Layouts of factors are kept between calls, see :class:`adlrns_neuro.functional.kept.Kept`.

    Args:
        x: inputs, shape (n, in), float32.
        layers: each takes what the one before puts out; all have as many levels.
        levels: shape (n,), int64.
        head: weight (classes, out) and bias (classes,) of a full matrix that takes what the last
            layer puts out; nothing if there is none.
        start: what the first layer's outputs begin with, in the place of its biases, shape
            (n, its outputs).
        rectified: whether outputs below 0 become 0, those of the last layer too, not of the head.

    Returns:
        Outputs, shape (n, out).

    Raises:
        ConfigError: as :meth:`simulators.kernels.leveled.LeveledChain.forward` and
            :class:`simulators.kernels.chain_layers.LeveledLayer`.
    """
    parts = [part for layer in layers for part in layer]
    outputs: Tensor = _OPERATOR(x, parts, head, levels, start, rectified)
    return outputs


@torch.library.impl(_NAME, "cpu")
def _on_cpu(
    x: Tensor,
    parts: list[Tensor],
    head: list[Tensor],
    levels: Tensor,
    start: Tensor | None,
    rectified: bool,
) -> Tensor:
    from adlrns_neuro.functional import packed_chain

    return packed_chain.forward_levels(x, parts, head, levels, start, rectified)


@torch.library.register_fake(_NAME)  # type: ignore[untyped-decorator]
def _fake(x: Tensor, parts: list[Tensor], head: list[Tensor], *_: object) -> Tensor:
    last = head[0] if head else parts[-SIZE]
    return x.new_empty(len(x), len(last))


@register_flop_formula(torch.ops.adlrns.leveled_low_rank, get_raw=True)
def _operations(
    x: Tensor, parts: list[Tensor], head: list[Tensor], levels: Tensor, *_: object, **__: object
) -> int:
    """Multiplications and additions of a call, for torch's own counter."""
    products = len(x) * head[0].numel() if head else 0
    for first in range(0, len(parts), SIZE):
        U, V, ranks, _bias = parts[first : first + SIZE]
        products += int(ranks[levels].sum()) * (len(U) + len(V))
    return 2 * products
