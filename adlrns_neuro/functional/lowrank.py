"""A rank per sample, as pure tensor functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def run_by_level(
    x: Tensor,
    known: Sequence[Tensor],
    chosen: Tensor,
    levels: int,
    run: Callable[[int, Tensor, Sequence[Tensor]], Tensor],
) -> Tensor:
    """Every sample at its own level, at the cost of that level: samples are grouped by level.

    Args:
        x: inputs, shape (n, ...).
        known: what else is known of them, such as their first rank block, shapes (n, ...).
        chosen: level of each sample, 0 to ``levels`` - 1, shape (n,), int64.
        levels: how many there are.
        run: outputs of some samples at one level, given the level, their part of ``x`` and their
            parts of ``known``; called once for each level that occurs.

    Returns:
        Outputs, shape (n, ...), in the order of ``x``.
    """
    sizes = torch.bincount(chosen, minlength=levels).tolist()
    if max(sizes) == len(x):
        return run(sizes.index(len(x)), x, known)
    order = chosen.argsort()
    # index_select: several times faster than indexing by brackets (torch 2.13, CPU).
    parts = zip(
        *(torch.split(one.index_select(0, order), sizes) for one in (x, *known)), strict=True
    )
    outputs = [run(level, part, others) for level, (part, *others) in enumerate(parts) if len(part)]
    return torch.cat(outputs).index_select(0, order.argsort())


def block_weights(levels: Sequence[int], reach: Tensor, gain: Tensor | None = None) -> Tensor:
    """What training weighs the values between the factors with, so that it can differentiate.

    Args:
        levels: the K ranks, ascending.
        reach: weight of the blocks above the first, shape (n, K - 1).
        gain: what each level weighs the values with, shape (K, r_max).

    Returns:
        Shape (n, r_max); with weights 0 and 1 those of the levels that they describe.
    """
    if gain is not None:
        ranks = torch.tensor(levels, device=reach.device)
        weights = (torch.arange(levels[-1], device=reach.device) < ranks[:, None]) * gain.to(reach)
        return weights[0] + reach @ weights.diff(dim=0)
    samples = len(reach)
    shares = [reach.new_ones(samples, levels[0])]
    for block, (low, high) in enumerate(pairwise(levels)):
        shares.append(reach[:, block : block + 1].expand(samples, high - low))
    return torch.cat(shares, dim=1)
