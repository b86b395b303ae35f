"""Low-rank layers whose level a gate chooses by their answer at the lowest one, as one operator.

``torch.ops.adlrns.probed_low_rank`` is one call of the kernels of :mod:`simulators.kernels` on the
CPU, which can be compiled and exported like torch's own operators. It has no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adlrns_neuro.functional.leveled_op import SIZE, LeveledParts
from mapping.errors import ConfigError

_NAME = "adlrns::probed_low_rank"
torch.library.define(
    _NAME,
    "(Tensor x, Tensor[] parts, Tensor[] head, Tensor[] exit_head, Tensor[] gate, Tensor price) "
    "-> (Tensor, Tensor)",
)
_OPERATOR = torch.ops.adlrns.probed_low_rank.default


class ProbeParts(NamedTuple):
    """What chooses between K levels, all on the CPU and float32.

    Attributes:
        weight, bias, cost, probe_weights: see :class:`simulators.kernels.probed.AnswerGate`.
    """

    weight: Tensor
    bias: Tensor
    cost: Tensor
    probe_weights: Tensor


def probed_low_rank(
    x: Tensor,
    layers: Sequence[LeveledParts],
    head: Sequence[Tensor],
    gate: ProbeParts,
    price: Tensor,
    *,
    exit_head: Sequence[Tensor] = (),
) -> tuple[Tensor, Tensor]:
    """Layer after layer max(0, U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i), at the level that a gate chooses.

    Layouts of factors and gate are kept between calls, see
    :class:`adlrns_neuro.functional.kept.Kept`.

    Args:
        x: inputs, shape (n, in), float32.
        layers: each takes what the one before puts out; all have as many levels, two or more.
        head: weight (classes, out) and bias (classes,) of a full matrix that comes last.
        gate: reads the answer of the lowest level.
        price: of the gate's cost, a scalar.
        exit_head: weight (classes, first out) and bias (classes,) of a full matrix that answers at
            the lowest level from the first layer, where the others then do not run; nothing if
            there is none.

    Returns:
        Answers, shape (n, classes), and levels, shape (n,), int64.

    Raises:
        ConfigError: ``ADL-KRN-02`` without a head, and as
            :class:`simulators.kernels.probed.ProbedChain` and its method ``forward``.
    """
    if len(head) != 2:
        raise ConfigError(
            "there is no full matrix whose answer a gate could read",
            where="probed_low_rank.head",
            remedy="pass its weight and bias",
            code="ADL-KRN-02",
        )
    parts = [part for layer in layers for part in layer]
    outputs, levels = _OPERATOR(x, parts, head, exit_head, gate, price)
    return outputs, levels


@torch.library.impl(_NAME, "cpu")
def _on_cpu(
    x: Tensor,
    parts: list[Tensor],
    head: list[Tensor],
    exit_head: list[Tensor],
    gate: list[Tensor],
    price: Tensor,
) -> tuple[Tensor, Tensor]:
    from adlrns_neuro.functional import packed_chain

    return packed_chain.forward_probed(x, parts, head, exit_head, gate, price.item())


@torch.library.register_fake(_NAME)  # type: ignore[untyped-decorator]
def _fake(x: Tensor, _parts: object, head: list[Tensor], *_: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(len(x), len(head[0])), x.new_empty(len(x), dtype=torch.int64)


@register_flop_formula(torch.ops.adlrns.probed_low_rank, get_raw=True)
def _operations(
    x: Tensor,
    parts: list[Tensor],
    head: list[Tensor],
    exit_head: list[Tensor],
    gate: list[Tensor],
    *_: object,
    out_val: tuple[Tensor, Tensor],
    **__: object,
) -> int:
    """Multiplications and additions of a call, for torch's own counter."""
    above = out_val[1][out_val[1] > 0]
    begun = exit_head or head
    products = len(x) * (gate[0].numel() + begun[0].numel()) + len(above) * head[0].numel()
    for first in range(0, len(parts), SIZE):
        U, V, ranks, _bias = parts[first : first + SIZE]
        # The first layer goes on from its first rank block.
        known = len(above) * int(ranks[0]) if first == 0 else 0
        begins = len(x) if first == 0 or not exit_head else 0
        total = begins * int(ranks[0]) + int(ranks[above].sum()) - known
        products += total * (len(U) + len(V))
    return 2 * products
