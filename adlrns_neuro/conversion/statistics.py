"""What the inputs of layers look like on calibration data, gathered by hooks in one pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.conversion.candidates import Candidate, Convertible, conv_geometry
from mapping.errors import ConfigError

Batch = Tensor | Sequence[Any] | Mapping[str, Any]
"""Inputs alone, inputs with labels (and more), or keyword arguments of the model."""
CHUNK_VALUES = 2**24
"""Of patches at a time: 128 MB in double precision."""


@dataclass(slots=True)
class InputStatistics:
    """Sums over all rows x that a weight matrix was applied to; a convolution's are its patches.

    Attributes:
        total: Σ x, shape (fan_in,), float64.
        products: Σ x xᵀ, shape (fan_in, fan_in), float64; None where rows are only counted.
        rows: how many there were.
        values: of all inputs and outputs together.
        image_size: height and width of the images that a convolution saw first.
        samples: how many samples the model saw, in all.
    """

    total: Tensor
    products: Tensor | None
    rows: int = 0
    values: int = 0
    image_size: tuple[int, int] | None = None
    samples: int = field(default=0)

    @classmethod
    def empty(cls, one: Candidate, *, moments: bool) -> InputStatistics:
        """Of nothing yet; without ``moments`` rows will only be counted."""
        fan_in, device = one.fan_in, one.modules[0].weight.device
        return cls(
            total=torch.zeros(fan_in, dtype=torch.float64, device=device),
            products=torch.zeros(fan_in, fan_in, dtype=torch.float64, device=device)
            if moments
            else None,
        )

    @property
    def mean(self) -> Tensor:
        """E[x]."""
        return self.total / self.rows

    @property
    def second_moment(self) -> Tensor:
        """E[x xᵀ]."""
        assert self.products is not None, "rows were only counted"
        return (self.products + self.products.T) / (2 * self.rows)

    @property
    def covariance(self) -> Tensor:
        """E[x xᵀ] - E[x] E[x]ᵀ."""
        return self.second_moment - torch.outer(self.mean, self.mean)

    @property
    def positions(self) -> float:
        """Rows per sample of the model."""
        return self.rows / self.samples

    @property
    def activations(self) -> float:
        """Values in and out per sample of the model."""
        return self.values / self.samples

    def add(self, module: Convertible, x: Tensor, y: Tensor) -> None:
        """Count one call of ``module``."""
        self.values += x.numel() + y.numel()
        if self.products is None:
            features = -1 if isinstance(module, nn.Linear) else -3
            self.rows += y.numel() // y.shape[features]
            return
        if isinstance(module, nn.Linear):
            self._add_rows(x.reshape(-1, module.in_features).T.double())
            return
        images = x if x.ndim == 4 else x[None]
        self.image_size = self.image_size or (images.shape[2], images.shape[3])
        geometry = conv_geometry(module)
        per_image = self.total.numel() * (y.numel() // (len(images) * module.out_channels))
        for part in torch.split(images, max(1, CHUNK_VALUES // per_image)):
            patches = F.unfold(part.double(), module.kernel_size, **geometry)
            self._add_rows(patches.transpose(0, 1).flatten(1))

    def _add_rows(self, columns: Tensor) -> None:
        """Rows x as columns, shape (fan_in, n)."""
        assert self.products is not None
        self.total += columns.sum(dim=1)
        self.products += columns @ columns.T
        self.rows += columns.shape[1]


def gather_statistics(
    model: nn.Module,
    loader: Iterable[Batch],
    candidates: Sequence[Candidate],
    counted_only: Collection[Candidate] = (),
) -> dict[Candidate, InputStatistics]:
    """Run the model over the loader once and watch its layers.

    Args:
        model: in evaluation mode.
        loader: batches of its inputs.
        candidates: the layers to watch.
        counted_only: those of them whose rows only need counting.

    Raises:
        ConfigError: ``ADL-CNV-04`` when the loader is empty or its batches hold no tensor.
    """
    found = {one: InputStatistics.empty(one, moments=one not in counted_only) for one in candidates}
    samples = 0
    with ExitStack() as hooks, torch.no_grad():
        for one, statistics in found.items():
            for module in one.modules:

                def watch(
                    module: Convertible,
                    args: tuple[Tensor, ...],
                    kwargs: dict[str, Tensor],
                    outputs: Tensor,
                    *,
                    statistics: InputStatistics = statistics,
                ) -> None:
                    (x,) = (*args, *kwargs.values())
                    statistics.add(module, x, outputs)

                handle = module.register_forward_hook(watch, with_kwargs=True)
                hooks.callback(handle.remove)
        for batch in loader:
            run_model(model, batch)
            samples += batch_size(batch)
    if samples == 0:
        raise no_samples()
    for statistics in found.values():
        statistics.samples = samples
    return found


def first_batches(loader: Iterable[Batch], count: int) -> list[Batch]:
    """Some batches, from a loader that has been read before.

    Raises:
        ConfigError: ``ADL-CNV-04`` when it can be read only once.
    """
    batches = list(islice(iter(loader), count))
    if not batches:
        raise no_samples()
    return batches


def no_samples() -> ConfigError:
    """The error of a loader that yields nothing, or nothing any more."""
    return ConfigError(
        "the loader yields no samples",
        where="convert.calibration_loader",
        remedy="pass a loader of the model's inputs that can be read more than once",
        code="ADL-CNV-04",
    )


def run_model(model: nn.Module, batch: Batch) -> Any:
    """What the model answers to a batch: the first entry of a sequence is its input."""
    if isinstance(batch, Tensor):
        return model(batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0])


def batch_size(batch: Batch) -> int:
    """Length of the first axis of the batch's first tensor.

    Raises:
        ConfigError: ``ADL-CNV-04`` when it holds none.
    """
    if isinstance(batch, Tensor):
        return len(batch)
    parts = batch.values() if isinstance(batch, Mapping) else batch
    for part in parts:
        if isinstance(part, Tensor):
            return len(part)
    raise ConfigError(
        f"a batch of type {type(batch).__name__} holds no tensor",
        where="convert.calibration_loader",
        remedy="yield inputs, (inputs, labels) or a mapping of the model's arguments",
        code="ADL-CNV-04",
    )
