"""How much the answer of a probe counts beside the answers of higher levels.

A sample that goes on after a probe has two answers. Their weighted sum is right more often than the
higher level alone, for next to nothing: stacked generalisation (Wolpert, 1992) with one weight for
each level.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

ITERATIONS = 100
"""Most steps of L-BFGS; the loss is convex in its two weights, and a dozen will do."""


def stacking_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """What the lowest level's logits count beside those of each level, fitted to held-out samples.

    For every level k above the lowest, a and b that minimise the cross-entropy of a y_k + b y_0;
    the weight is b / a, between 0 and 1.

    Args:
        logits: of each level, shape (K, n, classes).
        labels: classes, shape (n,), int64.

    Returns:
        Shape (K,), float64; 0 for the lowest level.
    """
    first, *others = logits.detach().double()
    return torch.stack([first.new_zeros(()), *(_weight(own, first, labels) for own in others)])


@torch.enable_grad()
def _weight(own: Tensor, first: Tensor, labels: Tensor) -> Tensor:
    """The weight of ``first`` beside ``own``."""
    scales = own.new_tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([scales], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.cross_entropy(scales[0] * own + scales[1] * first, labels)
        torch.autograd.backward(found)
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    mine, probes = scales.detach().clamp(min=0.0)
    return torch.where(probes < mine, probes / mine, (probes > 0.0).to(mine))
