"""How much a model's loss grows when one layer alone loses rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.conversion.factors import Factorisation
from adlrns_neuro.conversion.statistics import Batch, batch_size, run_model
from mapping.errors import ConfigError

Loss = Callable[[nn.Module, Batch], Tensor]
"""Mean loss of a batch."""
MEASURED_SHARES = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1.0)
"""Of a layer's highest rank that pays; between them the loss is interpolated."""
TIE_BREAK = 1e-6
"""Loss per squared relative error of a layer's outputs, where the model's loss shows nothing."""


def loss_increases(
    model: nn.Module,
    batches: Sequence[Batch],
    factorisations: Sequence[Factorisation],
    loss: Loss | None,
) -> list[dict[int, float]]:
    """By layer and rank, how much the mean loss grows with that layer alone at that rank.

    A rank is never worse than the ranks below it, and never better than the full matrix: what
    chance on few samples says otherwise is evened out.

    Args:
        model: in evaluation mode; its weights are changed and put back.
        batches: calibration samples.
        factorisations: of the layers, up to the highest rank in question.
        loss: of a batch. By default the cross-entropy where batches are (inputs, class indices)
            and outputs are (n, classes), else ‖outputs - full outputs‖² / ‖full outputs‖².

    Raises:
        ConfigError: ``ADL-CNV-06`` when there is no ``loss`` and the model's outputs are no tensor.
    """
    sizes = np.array([batch_size(batch) for batch in batches], np.float64)
    full_outputs = [None] * len(batches) if loss else [_output(model, b) for b in batches]

    def mean_loss() -> float:
        values = [
            float(loss(model, batch) if loss else _default_loss(_output(model, batch), batch, full))
            for batch, full in zip(batches, full_outputs, strict=True)
        ]
        return float(np.average(values, weights=sizes))

    with torch.no_grad():
        base = mean_loss()
        found = []
        for one in factorisations:
            highest = one.U.shape[1]
            ranks = sorted({max(1, round(highest * share)) for share in MEASURED_SHARES})
            growth = []
            for rank in ranks:
                with truncated(one, rank):
                    grown = max(mean_loss() - base, 0.0)
                growth.append(grown + TIE_BREAK * one.relative_error(rank) ** 2)
            falling = np.maximum.accumulate(growth[::-1])[::-1]
            found.append(dict(zip(ranks, falling.tolist(), strict=True)))
    return found


@contextmanager
def truncated(one: Factorisation, rank: int) -> Iterator[None]:
    """A layer runs as its factors of one rank would, inside the block."""
    kept = [(m.weight.detach().clone(), m._parameters["bias"]) for m in one.candidate.modules]
    try:
        with torch.no_grad():
            for module in one.candidate.modules:
                module.weight.copy_(one.matrix(rank).reshape(module.weight.shape))
                shift = one.shift(rank).to(module.weight)
                bias = shift if module.bias is None else module.bias + shift
                module.bias = nn.Parameter(bias, requires_grad=False)
        yield
    finally:
        with torch.no_grad():
            for module, (weight, old) in zip(one.candidate.modules, kept, strict=True):
                module.weight.copy_(weight)
                module.register_parameter("bias", old)


def _default_loss(outputs: Tensor, batch: Batch, full: Tensor | None) -> Tensor:
    assert full is not None
    if isinstance(batch, list | tuple) and len(batch) == 2:
        labels = batch[1]
        indices = isinstance(labels, Tensor) and labels.dtype == torch.int64
        if indices and outputs.ndim == 2 and labels.shape == outputs.shape[:1]:
            return F.cross_entropy(outputs.float(), labels)
    return (outputs - full).square().sum() / full.square().sum().clamp(min=1e-30)


@torch.no_grad()
def _output(model: nn.Module, batch: Batch) -> Tensor:
    outputs = run_model(model, batch)
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            f"the model answers with a {type(outputs).__name__}, not a tensor",
            where="convert.loss",
            remedy="pass loss=f, where f(model, batch) is the mean loss of a batch",
            code="ADL-CNV-06",
        )
    return outputs
