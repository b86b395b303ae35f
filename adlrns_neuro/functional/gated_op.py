"""Low-rank layers whose ranks gates choose on the way, as one operator of torch.

``torch.ops.adlrns.gated_low_rank`` is one call of the kernels of :mod:`simulators.kernels` on the
CPU, which can be compiled and exported like torch's own operators. It has no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_NAME = "adlrns::gated_low_rank"
# Not custom_op, whose calls take 6 µs longer.
torch.library.define(
    _NAME,
    "(Tensor x, Tensor[] parts, Tensor[] head, Tensor[] prices, int[] levels, bool rectified) "
    "-> (Tensor, Tensor)",
)
_OPERATOR = torch.ops.adlrns.gated_low_rank.default


class GatedParts(NamedTuple):
    """What a layer runs on, all on the CPU; float32 but for the ranks.

    Attributes:
        U, V: factors, shapes (out, r_max) and (in, r_max).
        ranks: of the K levels, ascending, int64.
        weight, bias, cost: of the gate, see :class:`simulators.kernels.chain_layers.GatedLayer`.
        level_bias: shape (K, out); of no element without biases.
        price: of the gate's cost, a scalar.
    """

    U: Tensor
    V: Tensor
    ranks: Tensor
    weight: Tensor
    bias: Tensor
    cost: Tensor
    level_bias: Tensor
    price: Tensor


KEPT = len(GatedParts._fields) - 1
"""Parts whose layout is kept between calls: all but the price."""


def gated_low_rank(
    x: Tensor,
    layers: Sequence[GatedParts],
    levels: Sequence[int],
    *,
    head: Sequence[Tensor] = (),
    rectified: bool,
) -> tuple[Tensor, Tensor]:
    """Layer after layer U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i, at the level that its gate chooses.

    Layouts of factors and gates are kept between calls, see
    :class:`adlrns_neuro.functional.kept.Kept`.

    Args:
        x: inputs, shape (n, in), float32.
        layers: each takes what the one before puts out.
        levels: how many levels each layer may choose from, the lowest ones.
        head: weight (classes, out) and bias (classes,) of a full matrix that takes what the last
            layer puts out; nothing if there is none.
        rectified: whether outputs below 0 become 0, those of the last layer too, not of the head.

    Returns:
        Outputs, shape (n, out), and ranks, shape (layers, n), int64.

    Raises:
        ConfigError: as :meth:`simulators.kernels.gated.GatedChain.forward` and
            :class:`simulators.kernels.chain_layers.GatedLayer`.
    """
    parts = [part for layer in layers for part in layer[:KEPT]]
    prices = [layer.price for layer in layers]
    outputs, chosen = _OPERATOR(x, parts, head, prices, levels, rectified)
    return outputs, chosen


@torch.library.impl(_NAME, "cpu")
def _on_cpu(
    x: Tensor,
    parts: list[Tensor],
    head: list[Tensor],
    prices: list[Tensor],
    levels: list[int],
    rectified: bool,
) -> tuple[Tensor, Tensor]:
    from adlrns_neuro.functional import packed_chain

    costs = [price.item() for price in prices]
    return packed_chain.forward(x, parts, head, costs, levels, rectified)


@torch.library.register_fake(_NAME)  # type: ignore[untyped-decorator]
def _fake(
    x: Tensor, parts: list[Tensor], head: list[Tensor], prices: list[Tensor], *_: object
) -> tuple[Tensor, Tensor]:
    last = head[0] if head else parts[-KEPT]
    chosen = x.new_empty(len(prices), len(x), dtype=torch.int64)
    return x.new_empty(len(x), len(last)), chosen


@register_flop_formula(torch.ops.adlrns.gated_low_rank, get_raw=True)
def _operations(
    x: Tensor,
    parts: list[Tensor],
    head: list[Tensor],
    *_: object,
    out_val: tuple[Tensor, Tensor],
    **__: object,
) -> int:
    """Multiplications and additions of a call, for torch's own counter."""
    products = len(x) * head[0].numel() if head else 0
    for number, chosen in enumerate(out_val[1]):
        U, V, _ranks, weight = parts[KEPT * number : KEPT * number + 4]
        products += int(chosen.sum()) * (len(U) + len(V)) + len(x) * weight.numel()
    return 2 * products
