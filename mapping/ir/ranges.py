"""Worst-case integer ranges of payloads and dendritic sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, Input


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PayloadRange:
    """Inclusive integer bounds of what compartments send, ``(size,)`` each, including 0."""

    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, population: Input) -> PayloadRange:
        """The declared range of an input population."""
        return cls(
            low=np.full(population.size, float(population.payload_min)),
            high=np.full(population.size, float(population.payload_max)),
        )

    @classmethod
    def binary(cls, size: int) -> PayloadRange:
        """What LIF compartments send: 0 or 1."""
        return cls(low=np.zeros(size), high=np.ones(size))

    @property
    def magnitude(self) -> FloatArray:
        """Largest absolute payload per compartment."""
        return np.maximum(-self.low, self.high)

    @property
    def graded(self) -> bool:
        """Whether payloads other than 0 and 1 can occur."""
        return bool((self.low < 0).any() or (self.high > 1).any())

    def part(self, start: int, stop: int) -> PayloadRange:
        """The range of compartments ``start:stop``."""
        return PayloadRange(low=self.low[start:stop], high=self.high[start:stop])


def sum_range(weights: npt.ArrayLike, payloads: PayloadRange) -> tuple[FloatArray, FloatArray]:
    """Bounds of ``weights @ payloads`` per row."""
    matrix = np.asarray(weights, dtype=np.float64)
    ends = matrix * payloads.low, matrix * payloads.high
    return np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)


def delivered_range(
    parts: Iterable[tuple[npt.ArrayLike, int | None, PayloadRange]], size: int
) -> PayloadRange:
    """Bounds of the dendritic input that several projections deliver together.

    Args:
        parts: ``(weights, exponent, range of the source)`` of each projection, all ``size`` rows
            high; without an exponent nothing is shifted or rounded.
        size: number of target compartments.
    """
    low, high = np.zeros(size), np.zeros(size)
    for weights, exponent, source in parts:
        below, above = sum_range(weights, source)
        if exponent is not None:
            below, above = np.floor(below * 2.0**exponent), np.floor(above * 2.0**exponent)
        low, high = low + below, high + above
    return PayloadRange(low=np.minimum(low, 0.0), high=np.maximum(high, 0.0))
