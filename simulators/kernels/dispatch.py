"""Which path runs a call on how many threads, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from simulators.kernels.calibrate import seconds_per_turn
from simulators.kernels.job import PATHS
from simulators.kernels.layout import Float32Array, Int64Array

if TYPE_CHECKING:
    from simulators.kernels.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A path and what spoke for it.

    Attributes:
        path: ``rows`` (sample by sample), ``tiles`` (packed register tiles), ``events`` (only
            inputs that are not 0) or ``bfloat16`` (numbers rounded to that).
        threads: how many share the call.
        seconds: by path, how long the model thinks that the call takes; infinite of ``events``
            where V holds NaN or infinity, which inputs of 0 have to meet, and of ``bfloat16`` where
            the factors do not allow it.
        activity: share of the inputs looked at that are not 0.
    """

    path: str
    threads: int
    seconds: dict[str, float]
    activity: float

    def __str__(self) -> str:
        times = ", ".join(
            f"{path} {1e6 * value:.1f} µs"
            for path, value in self.seconds.items()
            if value < math.inf
        )
        return (
            f"{self.path}, threads: {self.threads}; modelled: {times}; "
            f"{100 * self.activity:.0f} % of the inputs are not 0"
        )


@cache
def model() -> ModuleType:
    """The compiled cost model, loaded when a first call needs it."""
    from simulators.kernels import model

    return model


def decide(x: Float32Array, ranks: Int64Array, workspace: Workspace) -> tuple[str, int, float]:
    """Path and threads that take least time by this machine's cost model, and the activity.

    The times of the paths are left in ``workspace.seconds``.
    """
    if not workspace.rated:
        workspace.rate(seconds_per_turn())
    number, count, _, activity = model().decide(workspace.job.ctypes.data, ranks, x)
    return PATHS[number], count, activity


def choose(x: Float32Array, ranks: Int64Array, workspace: Workspace) -> Choice:
    """What :func:`decide` chooses, with the figures behind it."""
    path, count, activity = decide(x, ranks, workspace)
    seconds = dict(zip(PATHS, workspace.seconds.tolist(), strict=True))
    return Choice(path=path, threads=count, seconds=seconds, activity=activity)
