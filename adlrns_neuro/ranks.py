"""The levels of all low-rank layers of a model, set together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from adlrns_neuro.layers.ranked import Ranked
from mapping.errors import ConfigError


def ranked_layers(model: nn.Module) -> dict[str, Ranked]:
    """The layers of ``model`` whose rank can be set, by their names, in the model's order.

    Raises:
        ConfigError: ``ADL-RNK-01`` when there is none.
    """
    found = {name: part for name, part in model.named_modules() if isinstance(part, Ranked)}
    if not found:
        raise ConfigError(
            "the model has no layer whose rank can be set",
            where=type(model).__name__,
            remedy="convert it with adlrns_neuro.convert, or build it of Ranked layers",
            code="ADL-RNK-01",
        )
    return found


def level_count(model: nn.Module) -> int:
    """How many levels the model has: as many as the layer with most.

    Raises:
        ConfigError: ``ADL-RNK-01``.
    """
    return max(len(part.layer.levels) for part in ranked_layers(model).values())


def energies_mj(model: nn.Module) -> tuple[float, ...]:
    """Modelled energy of a sample with all layers at each level [mJ], of these layers alone.

    Raises:
        ConfigError: ``ADL-RNK-01``.
    """
    layers = [part.layer for part in ranked_layers(model).values()]
    return tuple(
        sum(layer.energies_mj[layer.levels[min(level, len(layer.levels) - 1)]] for layer in layers)
        for level in range(level_count(model))
    )


@contextmanager
def at_level(model: nn.Module, level: int | Tensor | None) -> Iterator[None]:
    """Run all layers at one level inside the block, and as before after it.

    Args:
        model: any module with :class:`~adlrns_neuro.layers.ranked.Ranked` layers.
        level: see :attr:`Ranked.level`.

    Raises:
        ConfigError: ``ADL-RNK-01`` without such layers.
    """
    layers = ranked_layers(model).values()
    before = [part.level for part in layers]
    try:
        for part in layers:
            part.level = level
        yield
    finally:
        for part, previous in zip(layers, before, strict=True):
            part.level = previous


def forward_levels(model: nn.Module, inputs: Tensor, levels: Sequence[int] | None = None) -> Tensor:
    """Outputs of the model at several levels.

    A model that has a method ``forward_levels(inputs, levels)`` of its own runs that, for it may
    share work between levels; others run once for each level.

    Args:
        model: as in :func:`at_level`, with one tensor as output.
        inputs: of the model.
        levels: their indices; all by default.

    Returns:
        Shape (levels, *outputs*).

    Raises:
        ConfigError: ``ADL-RNK-01`` without ranked layers.
    """
    chosen = range(level_count(model)) if levels is None else levels
    own: Callable[[Tensor, Sequence[int]], Tensor] | None = getattr(model, "forward_levels", None)
    if own is not None:
        return own(inputs, chosen)
    outputs = []
    for level in chosen:
        with at_level(model, level):
            outputs.append(model(inputs))
    return torch.stack(outputs)
