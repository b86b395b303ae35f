"""Which ranks a run used, read off the events of its gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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


def gates_on(events: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """``(samples, steps, gates)`` which gates are on by their events up to the step before.

    Args:
        events: ``(samples, steps, gates)`` 1 where a gate opens, -1 where it closes, else 0.
    """
    on = np.zeros(events.shape, np.bool_)
    on[:, 1:] = np.cumsum(events, axis=1)[:, :-1] > 0
    return on


def sent_by_host(
    payloads: npt.NDArray[Any], events: npt.NDArray[Any], needed: int, delta: bool
) -> npt.NDArray[Any]:
    """``(samples, steps, inputs)`` payloads that the host sends while the first gates are on.

    Args:
        payloads: ``(samples, steps, inputs)`` of the input.
        events: of the gates, as of :func:`gates_on`; needed: how many of them must be on.
        delta: payloads are changes: it sends their sum, in 32 bits, when the gates open, and takes
            it back when they close.
    """
    is_open = gates_on(events[..., :needed]).all(axis=2, keepdims=True)
    if not delta:
        return payloads * is_open
    so_far = np.cumsum(payloads, axis=1).astype(np.int32).astype(np.int64)
    return np.diff(so_far * is_open, axis=1, prepend=0)


def rank_usage(artifact: Artifact, trace: ExecutionTrace) -> dict[str, RankUsage]:
    """By layer with a gate, in the order of the program."""
    found = {}
    for gated in artifact.partitioned.gated_layers():
        level = np.cumprod(gates_on(trace.spikes[gated.gate]), axis=2).sum(axis=2)
        found[gated.layer] = RankUsage(ranks=np.array(gated.levels)[level], levels=gated.levels)
    return found
