"""What a network answers: the class of a sample, from what its output population did."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]


def most_spikes(spikes: npt.NDArray[Any]) -> IntArray:
    """``(samples,)`` class with the most of ``(samples, steps, classes)`` spikes, ties to the
    lowest index.
    """
    return np.asarray((spikes != 0).sum(axis=1).argmax(axis=1))


def highest_voltage(voltages: npt.NDArray[Any]) -> IntArray:
    """``(samples,)`` class with the highest of ``(samples, steps, classes)`` voltages, summed."""
    return np.asarray(voltages.sum(axis=1).argmax(axis=1))
