"""The low-rank linear map at a rank per sample, as pure tensor functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def grouped_low_rank(
    x: Tensor,
    first: Tensor,
    U: Tensor,
    V: Tensor,
    levels: Sequence[int],
    chosen: Tensor,
    gain: Tensor | None = None,
) -> Tensor:
    """Every sample at its own level, at the cost of that level: samples are grouped by level.

    Args:
        x: inputs, shape (n, in).
        first: their first rank block, ``x @ V[:, :levels[0]]``, not computed again.
        U, V: factors, shapes (out, r_max) and (in, r_max).
        levels: the K ranks, ascending.
        chosen: level of each sample, 0 to K - 1, shape (n,), int64.
        gain: what each level weighs the values between the factors with, shape (K, r_max).

    Returns:
        Outputs, shape (n, out). With ``first`` the whole takes Σ_i r_i (in + out)
        multiply-accumulates.
    """
    lowest = levels[0]

    def at(level: int, part: Tensor, start: Tensor) -> Tensor:
        rank = levels[level]
        z = torch.cat([start, part @ V[:, lowest:rank]], dim=1)
        return (z if gain is None else z * gain[level, :rank].to(z)) @ U[:, :rank].T

    sizes = torch.bincount(chosen, minlength=len(levels)).tolist()
    if max(sizes) == len(x):
        return at(sizes.index(len(x)), x, first)
    order = chosen.argsort()
    # index_select: several times faster than indexing by brackets (torch 2.13, CPU).
    rows = torch.split(x.index_select(0, order), sizes)
    starts = torch.split(first.index_select(0, order), sizes)
    outputs = [
        at(level, part, start)
        for level, (part, start) in enumerate(zip(rows, starts, strict=True))
        if len(part)
    ]
    return torch.cat(outputs).index_select(0, order.argsort())


def weighted_low_rank(
    z: Tensor, U: Tensor, levels: Sequence[int], reach: Tensor, gain: Tensor | None = None
) -> Tensor:
    """All rank blocks, each weighted per sample: what training differentiates.

    Args:
        z: ``x @ V``, shape (..., r_max).
        U: output factor, shape (out, r_max).
        levels: the K ranks, ascending.
        reach: weight of the blocks above the first, shape (..., K - 1).
        gain: as in :func:`grouped_low_rank`.

    Returns:
        Outputs, shape (..., out); with weights 0 and 1 those of the levels that they describe.
    """
    if gain is not None:
        ranks = torch.tensor(levels, device=z.device)
        weights = (torch.arange(levels[-1], device=z.device) < ranks[:, None]) * gain.to(z)
        return (z * (weights[0] + reach.to(z) @ weights.diff(dim=0))) @ U.T
    open_share = [torch.ones_like(z[..., : levels[0]])]
    for block, (low, high) in enumerate(pairwise(levels)):
        open_share.append(reach[..., block : block + 1].expand(*z.shape[:-1], high - low))
    return (z * torch.cat(open_share, dim=-1)) @ U.T
