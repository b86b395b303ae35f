"""What a rank costs, relative to the full matrix: the second term of a gated layer's loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FLOPS_SHARE = 0.5
"""α; with β it makes a layer's cost 1 where operations and memory traffic are the full matrix's."""
MEMORY_SHARE = 0.5
"""β."""


def relative_cost(
    rank: Tensor,
    in_features: int,
    out_features: int,
    *,
    alpha: float = FLOPS_SHARE,
    beta: float = MEMORY_SHARE,
    activity: float = 1.0,
    activations: int | None = None,
) -> Tensor:
    """E = α FLOPs(r) / FLOPs_full + β Mem(r) / Mem_full of one sample.

    With n inputs, m outputs and the share p of inputs that are not zero, FLOPs(r) = r (p n + m)
    and FLOPs_full = p n m. Mem counts the weights, the inputs and the outputs once: with a inputs
    and outputs in all, Mem(r) = r (n + m) + a and Mem_full = n m + a.

    Args:
        rank: r, an expected rank too, any shape.
        in_features, out_features: n and m.
        alpha, beta: weights of the two terms.
        activity: p, below 1 for spikes.
        activations: a; n + m if None. A convolution has more, for it uses its weights at every
            position; its n are the values under the kernel.

    Returns:
        E in the shape of ``rank``; linear in r, so that E of a mean rank is the mean E.
    """
    n, m = in_features, out_features
    flops = rank * (activity * n + m) / (activity * n * m)
    moved = n + m if activations is None else activations
    memory = (rank * (n + m) + moved) / (n * m + moved)
    return alpha * flops + beta * memory


def expected_rank(reach: Tensor, levels: Sequence[int]) -> Tensor:
    """Mean rank under a soft decision.

    Args:
        reach: probability that level k + 1 is reached, shape (..., K - 1), see
            :meth:`adlrns_neuro.gates.network.GateNetwork.reach`.
        levels: the K ranks, ascending.

    Returns:
        Σ_k P(level k) rank_k, shape (...).
    """
    ranks = torch.tensor(levels, dtype=reach.dtype, device=reach.device)
    return ranks[0] + reach @ ranks.diff()
