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
"""Most steps of L-BFGS on a loss that is convex in two weights. Where all answers are right it has
no least value, and what comes out says little, as it need not."""


def stacking_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """What the lowest level's logits count beside those of each level, fitted to held-out samples.

    For every level k above the lowest, a and b minimise the cross-entropy of a y_k + b y_0; the
    weight is b / a, or what of 0 to 1 is next to it.

    Args:
        logits: of each level, shape (K, n, classes).
        labels: classes, shape (n,), int64.

    Returns:
        Shape (K,), float64; 0 for the lowest level.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Copies, since tensors of inference mode take no part in gradients.
        first, classes = logits[0].detach().double().clone(), labels.clone()
        found = [_weight(own.detach().double().clone(), first, classes) for own in logits[1:]]
    return torch.stack([first.new_zeros(()), *found])


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
