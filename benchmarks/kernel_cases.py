"""Low-rank calls to be timed: random factors and inputs, and a rank per sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = np.array([0.30, 0.22, 0.16, 0.12, 0.08, 0.06, 0.04, 0.02])
"""Share of the samples at each eighth of r_max; one sample on its own runs at a quarter."""
LARGEST, LARGEST_RANK, MOST_SAMPLES = 4096, 256, 1024
ACTIVITIES = (1.0, 0.5, 0.2, 0.05, 0.01)
"""Of random calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A batch whose samples have ranks of their own.

    Attributes:
        U, V: factors, shapes (out, r_max) and (in, r_max).
        x: (samples, in) float32.
        ranks: (samples,) int64.
    """

    U: np.ndarray
    V: np.ndarray
    x: np.ndarray
    ranks: np.ndarray

    @property
    def mean_rank(self) -> int:
        """Of the samples, rounded."""
        return max(1, round(float(self.ranks.mean())))


def problem_of(shape: tuple[int, int, int], batch: int, activity: float = 1.0) -> Problem:
    """A call of the (out, in, r_max) ``shape``, its ranks as LEVELS says, in random order.

    Args:
        shape: of the factors.
        batch: samples.
        activity: below 1, inputs are binary, and this share of them is 1.
    """
    rng = np.random.default_rng(0)
    levels = shape[2] * np.arange(1, 9) // 8
    ranks = np.full(batch, shape[2] // 4)
    if batch > 1:
        places = (np.arange(batch) + 0.5) / batch
        ranks = rng.permutation(levels[np.searchsorted(np.cumsum(LEVELS), places)])
    return _problem(rng, shape, ranks.astype(np.int64), activity)


def random_problem(rng: np.random.Generator) -> Problem:
    """A call of any shape, batch and activity, its ranks uniform up to any."""
    outputs, inputs = (_log_uniform(rng, 32, LARGEST) for _ in range(2))
    r_max = _log_uniform(rng, 8, min(outputs, inputs, LARGEST_RANK))
    batch = _log_uniform(rng, 1, MOST_SAMPLES)
    ranks = rng.integers(0, rng.integers(1, r_max, endpoint=True), batch, endpoint=True)
    return _problem(rng, (outputs, inputs, r_max), ranks, rng.choice(ACTIVITIES))


def _log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    """A size whose logarithm is uniform."""
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


def _problem(
    rng: np.random.Generator, shape: tuple[int, int, int], ranks: np.ndarray, activity: float
) -> Problem:
    outputs, inputs, r_max = shape
    x = rng.standard_normal((len(ranks), inputs), np.float32)
    if activity < 1:
        x = (rng.random(x.shape) < activity).astype(np.float32)
    return Problem(
        U=rng.standard_normal((outputs, r_max), np.float32),
        V=rng.standard_normal((inputs, r_max), np.float32),
        x=x,
        ranks=ranks,
    )
