"""How well a model does on held-out samples, level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.training.objective import check_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Figures of one pass over held-out samples, all levels at the model's own settings.

    Attributes:
        loss: mean cross-entropy by level.
        accuracy: share of samples classified rightly by level, 0 to 1.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def merit(self) -> tuple[float, float]:
        """To compare epochs by, larger is better: mean accuracy, then mean loss."""
        return sum(self.accuracy) / len(self.accuracy), -sum(self.loss) / len(self.loss)


def scores(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    logits: Callable[[Tensor], Tensor],
    accelerator: Accelerator,
) -> Scores:
    """Run the model over all samples, in evaluation mode; its mode is put back.

    Args:
        model: whose mode is set.
        loader: prepared by ``accelerator``; every process passes over its part.
        logits: inputs → logits at each level, shape (levels, n, classes).
        accelerator: brings the parts together, each sample once.
    """
    training = model.training
    model.eval()
    losses, hits = [], []
    with torch.no_grad():
        for inputs, labels in loader:
            outputs = logits(inputs)
            check_labels(labels, outputs.shape[-1])
            loss = torch.stack([F.cross_entropy(o, labels, reduction="none") for o in outputs])
            hit = outputs.argmax(dim=-1) == labels
            whole = accelerator.gather_for_metrics((loss.T.contiguous(), hit.T.contiguous()))
            losses.append(whole[0].double())
            hits.append(whole[1].double())
    model.train(training)
    return Scores(
        loss=tuple(torch.cat(losses).mean(dim=0).tolist()),
        accuracy=tuple(torch.cat(hits).mean(dim=0).tolist()),
    )
