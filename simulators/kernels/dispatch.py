"""Which path runs a call on how many threads, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors

if TYPE_CHECKING:
    from simulators.kernels.workspace import Workspace

HAND_OVER_S = 4e-6
"""What sharing a call with other threads costs at least: two phases begin and end for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A path and what spoke for it.

    Attributes:
        path: ``rows`` (sample by sample), ``tiles`` (packed register tiles) or ``events`` (only
            inputs that are not 0).
        threads: how many share the call.
        seconds: by path, how long the model thinks it takes.
        activity: share of the inputs looked at that are not 0.
    """

    path: str
    threads: int
    seconds: dict[str, float]
    activity: float

    def __str__(self) -> str:
        times = ", ".join(
            f"{path} {1e6 * value:.1f} µs" for path, value in sorted(self.seconds.items())
        )
        return (
            f"{self.path} on {self.threads} threads, the least of {times}; "
            f"{100 * self.activity:.0f} % of the inputs are not 0"
        )


def choose(
    factors: PackedFactors,
    x: Float32Array,
    ranks: Int64Array,
    workspace: Workspace,
    threads: int,
) -> Choice:
    """The path and threads that the machine's cost model finds fastest.

    ``events`` is no choice where V holds NaN or infinity, which inputs of 0 have to meet.
    """
    from simulators.kernels.calibrate import seconds_per_turn
    from simulators.kernels.model import EVENTS, PATHS, ROWS, activity, count_turns

    active = activity(x)
    turns = workspace.turns
    count_turns(ranks, factors.inputs, factors.outputs, active, workspace.reach, turns)
    alone = np.einsum("pf,pf->p", turns, seconds_per_turn())
    seconds = {}
    best = ("", 0, float("inf"))
    for number, path in enumerate(PATHS):
        if number == EVENTS and not factors.input_is_finite:
            continue
        least, count = float(alone[number]), 1
        if number != ROWS and threads > 1 and least / threads + HAND_OVER_S < least:
            least, count = least / threads + HAND_OVER_S, threads
        seconds[path] = least
        if least < best[2]:
            best = (path, count, least)
    return Choice(path=best[0], threads=best[1], seconds=seconds, activity=active)
