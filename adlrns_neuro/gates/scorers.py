"""What a gate for a whole network sees of a sample, and what seeing it costs.

A scorer turns a sample into the features from which one gate chooses the level of all layers.
*Input statistics* cost next to nothing and say little. The *first block* is computed at every level
anyway. The *confidence probe* runs the whole network at its lowest level first: what it says is
most telling, and it is the answer where the gate is content with it (a cascade; Viola and Jones,
2001; for early exits BranchyNet, Teerapittayanon et al., 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.ranks import at_level, ranked_layers
from mapping.registry import Registry

PROBABILITIES = 5
"""Largest probabilities that the confidence probe reads, all of fewer classes."""


class Scorer(Protocol):
    """Features of samples for a gate of the whole network."""

    probes: bool
    """Whether the network has answered at its lowest level when the features are known."""
    inside: bool
    """Whether the features are the first low-rank layer's first block, so that the decision falls
    inside that layer and the block is computed once."""

    def score(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (n, f), and outputs at the lowest level where the scorer computed them.

        Args:
            model: the network, see :mod:`adlrns_neuro.ranks`.
            inputs: of the network, n samples along the first axis.
        """
        ...


SCORERS: Registry[Callable[[], Scorer]] = Registry("scorer", "adlrns_neuro.scorers")


@SCORERS.register("input_statistics")
class InputStatistics:
    """Mean, standard deviation, share above the mean, and mean step between neighbours."""

    probes = inside = False

    def score(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, None]:
        """Four features of every sample; the network is not run."""
        values = inputs if inputs.is_floating_point() else inputs.to(torch.get_default_dtype())
        rows = values.flatten(1)
        mean = rows.mean(dim=1, keepdim=True)
        step = values.diff(dim=-1).abs().flatten(1).mean(dim=1)
        above = (rows > mean).to(rows).mean(dim=1)
        return torch.stack([mean[:, 0], rows.std(dim=1), above, step], dim=1), None


@SCORERS.register("first_block")
class FirstBlock:
    """The first rank block of the network's first low-rank layer, from that layer's own input."""

    probes, inside = False, True

    def score(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, None]:
        """The block of every sample, from a run at the lowest level whose outputs are not kept."""
        ranked = next(iter(ranked_layers(model).values()))
        seen: list[Tensor] = []

        def keep(part: nn.Module, received: tuple[Tensor]) -> None:
            seen.append(ranked.features(received[0]))

        handle = ranked.register_forward_pre_hook(keep)
        try:
            with at_level(model, 0):
                model(inputs)
        finally:
            handle.remove()
        return seen[0], None


@SCORERS.register("confidence_probe")
class ConfidenceProbe:
    """Largest probabilities and minus the entropy of the answer at the lowest level.

    Not their logarithms: of classes that are out of the question these have no bound, and a linear
    gate goes by them where they say nothing.
    """

    probes, inside = True, False

    def score(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Six features of a sample, fewer of few classes, and its outputs at the lowest level."""
        with at_level(model, 0):
            outputs: Tensor = model(inputs)
        logs = F.log_softmax(outputs, dim=-1)
        shares = logs.exp()
        order = shares.sort(dim=-1, descending=True).values[:, :PROBABILITIES]
        return torch.cat([order, (shares * logs).sum(dim=-1, keepdim=True)], dim=-1), outputs
