"""Synapses of every form as one matrix, for tests that count them one by one."""

from __future__ import annotations

import numpy as np

from mapping.ir.synapses import Synapses


def full(synapses: Synapses) -> np.ndarray:
    """``(rows, columns)`` values with zeros where there is no synapse."""
    matrix = synapses.matrix()
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())
