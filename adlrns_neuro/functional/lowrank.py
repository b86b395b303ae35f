"""The low-rank linear map at a rank per sample, as pure tensor functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def grouped_low_rank(
    x: Tensor, first: Tensor, U: Tensor, V: Tensor, levels: Sequence[int], chosen: Tensor
) -> Tensor:
    """Every sample at its own level, at the cost of that level: samples are grouped by level.

    Args:
        x: inputs, shape (n, in).
        first: their first rank block, ``x @ V[:, :levels[0]]``, not computed again.
        U, V: factors, shapes (out, r_max) and (in, r_max).
        levels: the K ranks, ascending.
        chosen: level of each sample, 0 to K - 1, shape (n,), int64.

    Returns:
        Outputs, shape (n, out). With ``first`` the whole takes Σ_i r_i (in + out)
        multiply-accumulates.
    """
    lowest = levels[0]
    sizes = torch.bincount(chosen, minlength=len(levels)).tolist()
    if max(sizes) == len(x):
        rank = levels[sizes.index(len(x))]
        return torch.cat([first, x @ V[:, lowest:rank]], dim=1) @ U[:, :rank].T
    order = chosen.argsort()
    # index_select: several times faster than indexing by brackets (torch 2.13, CPU).
    rows = torch.split(x.index_select(0, order), sizes)
    starts = torch.split(first.index_select(0, order), sizes)
    outputs = [
        torch.cat([start, part @ V[:, lowest:rank]], dim=1) @ U[:, :rank].T
        for rank, part, start in zip(levels, rows, starts, strict=True)
        if len(part)
    ]
    return torch.cat(outputs).index_select(0, order.argsort())


def weighted_low_rank(z: Tensor, U: Tensor, levels: Sequence[int], reach: Tensor) -> Tensor:
    """All rank blocks, each weighted per sample: what training differentiates.

    Args:
        z: ``x @ V``, shape (..., r_max).
        U: output factor, shape (out, r_max).
        levels: the K ranks, ascending.
        reach: weight of the blocks above the first, shape (..., K - 1).

    Returns:
        Outputs, shape (..., out); with weights 0 and 1 those of the levels that they describe.
    """
    weights = [torch.ones_like(z[..., : levels[0]])]
    for block, (low, high) in enumerate(pairwise(levels)):
        weights.append(reach[..., block : block + 1].expand(*z.shape[:-1], high - low))
    return (z * torch.cat(weights, dim=-1)) @ U.T
