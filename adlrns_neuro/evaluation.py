"""Stimuli with their classes, and how many of them a network gets right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adlrns_neuro.data.coding import Coding, code
from adlrns_neuro.data.digits import LabelledImages
from adlrns_neuro.models.snn import LowRankSNN
from mapping.errors import ConfigError

CHUNK = 2000
"""Samples that are classified at once: bounds the memory of a run, changes no result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Stimuli with their classes.

    Attributes:
        payloads: integers as floats, shape (steps, n, inputs).
        labels: classes, shape (n,), int64.

    Raises:
        ConfigError: ``ADL-TRN-02`` unless there is one label for each of at least one sample, and
            labels are int64 and payloads of a floating type.
    """

    payloads: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        paired = self.payloads.ndim == 3 and self.labels.shape == self.payloads.shape[1:2]
        if not paired or len(self.labels) == 0:
            raise ConfigError(
                f"labels of shape {tuple(self.labels.shape)} do not fit payloads of shape "
                f"{tuple(self.payloads.shape)}",
                where="Examples.labels",
                remedy="pass payloads (steps, n, inputs) and labels (n,) with n at least 1",
                code="ADL-TRN-02",
            )
        if self.labels.dtype != torch.int64 or not self.payloads.is_floating_point():
            raise ConfigError(
                f"labels are {self.labels.dtype} and payloads {self.payloads.dtype}",
                where="Examples",
                remedy="convert them with labels.long() and payloads.float()",
                code="ADL-TRN-02",
            )

    def chunks(self) -> Iterator[Examples]:
        """The same samples in order, ``CHUNK`` or fewer at a time."""
        for start in range(0, len(self.labels), CHUNK):
            part = slice(start, start + CHUNK)
            yield Examples(payloads=self.payloads[:, part], labels=self.labels[part])


def encode(images: LabelledImages, steps: int, coding: Coding = "direct") -> Examples:
    """Labelled images as payloads; errors are those of :func:`adlrns_neuro.data.coding.code`."""
    payloads = torch.tensor(code(images.images, steps, coding), dtype=torch.float32)
    return Examples(
        payloads=payloads.transpose(0, 1).contiguous(), labels=torch.tensor(images.labels)
    )


def accuracy_by_rank(
    model: LowRankSNN, examples: Examples, *, open_at: int = 0
) -> dict[int, float]:
    """Share of the examples that each level classifies rightly, 0 to 1, by rank.

    Args:
        model: the network for every rank.
        examples: what it classifies.
        open_at: as in :meth:`LowRankSNN.forward`.
    """
    with torch.no_grad():
        right = sum(
            (model.forward_levels(p.payloads, open_at=open_at).predictions == p.labels).sum(dim=1)
            for p in examples.chunks()
        )
    shares = (torch.as_tensor(right) / len(examples.labels)).tolist()
    return dict(zip(model.config.levels, shares, strict=True))


def accuracy_at_price(model: LowRankSNN, examples: Examples, price: float) -> float:
    """Share of the examples classified rightly when the gate chooses the ranks, 0 to 1.

    Args:
        model: a network with a fitted gate.
        examples: what it classifies.
        price: as in :meth:`LowRankSNN.forward_gated`.
    """
    with torch.no_grad():
        right = sum(
            int((model.forward_gated(p.payloads, price)[0].predictions == p.labels).sum())
            for p in examples.chunks()
        )
    return right / len(examples.labels)
