"""The networks that NeuroBench has measured, and their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mapping.ir.network import Dense, Input, Lif, Network

CASES = ("spikes", "values")
"""What the inputs send."""
SIZES = (64, 32, 10)


@dataclass(frozen=True, eq=False)
class Weights:
    """Two layers, some weights of which are zero, and the constants of all neurons."""

    matrices: tuple[np.ndarray, ...]
    voltage_decay: float
    threshold: float


def weights(case: str) -> Weights:
    """Weights of multiples of 1/64, so that sums are exact in any order and precision."""
    rng = np.random.default_rng(CASES.index(case))
    matrices = []
    for wide, narrow in pairwise(SIZES):
        matrix = rng.integers(-16, 25, (narrow, wide)) * (rng.random((narrow, wide)) < 0.8)
        matrices.append(matrix / 64)
    return Weights(matrices=tuple(matrices), voltage_decay=0.875, threshold=1.0)


def payloads(case: str) -> np.ndarray:
    """``(samples, steps, inputs)`` integers."""
    rng = np.random.default_rng(7)
    largest = 1 if case == "spikes" else 3
    shape = (5, 12, SIZES[0])
    return rng.integers(1, largest + 1, shape) * (rng.random(shape) < 0.2)


def network(case: str) -> Network:
    """The network as the compiler reads it."""
    given = weights(case)
    populations: list[Input | Lif] = [
        Input(name="in", shape=(SIZES[0],), payload_max=1 if case == "spikes" else 3)
    ]
    projections = []
    for number, matrix in enumerate(given.matrices, start=1):
        populations.append(
            Lif(
                name=str(number),
                shape=(len(matrix),),
                current_decay=0.0,
                voltage_decay=given.voltage_decay,
                threshold=given.threshold,
            )
        )
        source = populations[-2].name
        projections.append(
            Dense(name=f"w{number}", source=source, target=str(number), weight=matrix)
        )
    return Network(
        name=case,
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
    )
