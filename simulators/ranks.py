"""Which ranks a run used, read off the events of its gates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.artifact.schema import Artifact
from simulators.trace import ExecutionTrace, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankUsage:
    """The ranks of one gated layer.

    Attributes:
        ranks: ``(samples, steps)`` rank that the gates' events up to the step before ask for.
        levels: the ranks that the layer can run at, rising.
    """

    ranks: IntArray
    levels: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean over samples and steps."""
        return float(self.ranks.mean())

    @property
    def shares(self) -> dict[int, float]:
        """Share of samples and steps by rank."""
        return {level: float((self.ranks == level).mean()) for level in self.levels}


def rank_usage(artifact: Artifact, trace: ExecutionTrace) -> dict[str, RankUsage]:
    """By layer with a gate, in the order of the program."""
    found = {}
    for gated in artifact.partitioned.gated_layers():
        on = np.zeros(trace.spikes[gated.gate].shape, np.int64)
        on[:, 1:] = np.cumsum(trace.spikes[gated.gate], axis=1)[:, :-1]
        level = np.cumprod(on, axis=2).sum(axis=2)
        found[gated.layer] = RankUsage(ranks=np.array(gated.levels)[level], levels=gated.levels)
    return found
