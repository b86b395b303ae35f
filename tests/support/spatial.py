"""A float network with synapses of every form, delays and an output that never spikes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import random_array

from mapping.ir.network import (
    Conv2d,
    ConvShape,
    Dense,
    Input,
    Li,
    Lif,
    Network,
    Sparse,
    SparseSynapses,
    SumPool2d,
)

INPUTS = (2, 6, 5)
CONV = ConvShape(
    inputs=INPUTS,
    out_channels=4,
    kernel=(3, 2),
    stride=(1, 2),
    padding=(1, 0),
    dilation=(1, 2),
    groups=2,
)
POOL = ConvShape(inputs=CONV.outputs, out_channels=4, kernel=(2, 1), stride=(2, 1), groups=4)


def spatial_network(*, payload_max: int = 1, biases: bool = True, seed: int = 0) -> Network:
    """``in`` → conv → ``features`` → pool → ``pooled`` → sparse → ``hidden`` → read → ``out``.

    ``hidden`` also feeds itself, sparsely; conv, sparse and the loop have delays.

    Args:
        payload_max: of the input.
        biases: whether the features and the output have biases.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)

    def bias(size: int) -> np.ndarray:
        return rng.normal(0, 0.05, size) * biases

    def sparse(rows: int, columns: int, scale: float) -> SparseSynapses:
        matrix = random_array((rows, columns), density=0.5, rng=rng)
        return SparseSynapses.of(matrix * scale - 0.3 * scale * (matrix != 0))

    def lif(name: str, shape: tuple[int, ...], threshold: float) -> Lif:
        return Lif(
            name=name,
            shape=shape,
            current_decay=0.5,
            voltage_decay=0.9,
            threshold=threshold,
            bias=bias(int(np.prod(shape))),
        )

    return Network(
        name="spatial",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=INPUTS, payload_max=payload_max),
            lif("features", CONV.outputs, 1.0),
            lif("pooled", POOL.outputs, 0.7),
            lif("hidden", (9,), 1.0),
            Li(name="out", shape=(3,), current_decay=0.25, voltage_decay=0.8, bias=bias(3)),
        ),
        projections=(
            Conv2d(
                name="conv",
                source="in",
                target="features",
                weight=rng.normal(0.2, 0.5, CONV.weight_shape),
                conv=CONV,
                delays=rng.integers(0, 3, int(np.prod(INPUTS))),
            ),
            SumPool2d(name="pool", source="features", target="pooled", conv=POOL, weight=0.5),
            Sparse(
                name="sparse",
                source="pooled",
                target="hidden",
                synapses=sparse(9, int(np.prod(POOL.outputs)), 1.5),
                delays=rng.integers(0, 4, int(np.prod(POOL.outputs))),
            ),
            Sparse(
                name="loop",
                source="hidden",
                target="hidden",
                synapses=sparse(9, 9, 0.4),
                delays=np.full(9, 5),
            ),
            Dense(name="read", source="hidden", target="out", weight=rng.normal(0, 1, (3, 9))),
        ),
    )
