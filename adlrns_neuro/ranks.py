"""The levels of all parts of a model that have ranks, set together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from adlrns_neuro.layers.ranked import Ranked, RankedModule
from mapping.errors import ConfigError

_Part = TypeVar("_Part", bound=RankedModule)


def ranked_parts(model: nn.Module) -> dict[str, RankedModule]:
    """The parts of ``model`` whose rank can be set, by their names, in the model's order.

    Raises:
        ConfigError: ``ADL-RNK-01`` when there is none.
    """
    return _of_kind(model, RankedModule)  # type: ignore[type-abstract]


def ranked_layers(model: nn.Module) -> dict[str, Ranked]:
    """Those of :func:`ranked_parts` that are single layers.

    Raises:
        ConfigError: ``ADL-RNK-01`` when there is none.
    """
    return _of_kind(model, Ranked)


def _of_kind(model: nn.Module, kind: type[_Part]) -> dict[str, _Part]:
    found = {name: part for name, part in model.named_modules() if isinstance(part, kind)}
    if not found:
        raise ConfigError(
            "the model has no layer whose rank can be set",
            where=type(model).__name__,
            remedy="convert it with adlrns_neuro.convert, or build it of Ranked layers",
            code="ADL-RNK-01",
        )
    return found


def level_count(model: nn.Module) -> int:
    """How many levels the model has: as many as the part with most.

    Raises:
        ConfigError: ``ADL-RNK-01``.
    """
    return max(len(part.levels) for part in ranked_parts(model).values())


def energies_mj(model: nn.Module) -> tuple[float, ...]:
    """Modelled energy of a sample with all parts at each level [mJ], of these parts alone.

    A model that leaves parts out at some level says so by a method ``level_energies_mj``.

    Raises:
        ConfigError: ``ADL-RNK-01``.
    """
    own = getattr(model, "level_energies_mj", None)
    told: tuple[float, ...] | None = None if own is None else own()
    if told is not None:
        return told
    energies = [part.energies_mj for part in ranked_parts(model).values()]
    return tuple(
        sum(one[min(level, len(one) - 1)] for one in energies)
        for level in range(level_count(model))
    )


@contextmanager
def at_level(model: nn.Module, level: int | Tensor | None) -> Iterator[None]:
    """Run all parts at one level inside the block, and as before after it.

    Args:
        model: any module with parts that are
            :class:`~adlrns_neuro.layers.ranked.RankedModule`, or that is one.
        level: see :attr:`RankedModule.level`.

    Raises:
        ConfigError: ``ADL-RNK-01`` without such parts.
    """
    parts = ranked_parts(model).values()
    before = [part.level for part in parts]
    try:
        for part in parts:
            vars(part)["level"] = level  # Set as of modules they take microseconds.
        yield
    finally:
        for part, previous in zip(parts, before, strict=True):
            vars(part)["level"] = previous


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
        ConfigError: ``ADL-RNK-01`` without ranked parts.
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
