"""The networks that NeuroBench has measured, and their inputs.

All weights are multiples of a power of two, so that sums are exact in any order and precision.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mapping.ir.network import (
    Conv2d,
    ConvShape,
    Dense,
    Input,
    Lif,
    Network,
    Population,
    Projection,
    Relay,
    Sparse,
    SparseSynapses,
    SumPool2d,
)

LABELS = np.array([6, 1, 5, 5, 6])
"""Of every network's samples: some are answered rightly, some wrongly."""
SIZES = (64, 32, 10)
IMAGES = (2, 8, 7)
CONV = ConvShape(
    inputs=IMAGES, out_channels=4, kernel=(3, 2), stride=(1, 2), padding=(1, 1), groups=2
)
POOL = ConvShape(inputs=CONV.outputs, out_channels=4, kernel=(2, 2), stride=(2, 2), groups=4)


def _weights(rng: np.random.Generator, *shape: int, low: int = -16) -> np.ndarray:
    """Some of which are zero."""
    return rng.integers(low, 25, shape) * (rng.random(shape) < 0.8) / 64


def _lif(name: str, *shape: int) -> Lif:
    return Lif(name=name, shape=shape, current_decay=0.0, voltage_decay=0.875, threshold=1.0)


def _network(
    name: str, populations: list[Population], projections: list[Projection], payload_max: int = 1
) -> Network:
    """A network of ``populations`` behind an input ``in`` of the shape that ``name`` asks for."""
    shape = IMAGES if name == "images" else SIZES[:1]
    return Network(
        name=name,
        dt_s=1e-3,
        populations=(Input(name="in", shape=shape, payload_max=payload_max), *populations),
        projections=tuple(projections),
        output=populations[-1].name,
    )


def _perceptron(name: str, hidden: Population, payload_max: int, seed: int) -> Network:
    rng = np.random.default_rng(seed)
    populations = [hidden, _lif("2", SIZES[2])]
    projections: list[Projection] = [
        Dense(
            name=f"w{target}",
            source=source,
            target=target,
            weight=_weights(rng, narrow, wide),
        )
        for (source, target), (wide, narrow) in zip(
            pairwise(("in", "1", "2")), pairwise(SIZES), strict=True
        )
    ]
    return _network(name, populations, projections, payload_max)


def _recurrent() -> Network:
    feed_forward = _perceptron("recurrent", _lif("1", SIZES[1]), 1, 3)
    weight = _weights(np.random.default_rng(4), SIZES[1], SIZES[1], low=-24)
    return _network(
        "recurrent",
        list(feed_forward.populations[1:]),
        [*feed_forward.projections, Dense(name="loop", source="1", target="1", weight=weight)],
    )


def _images() -> Network:
    rng = np.random.default_rng(5)
    pooled = int(np.prod(POOL.outputs))
    weight = 4 * _weights(rng, *CONV.weight_shape)
    read = SparseSynapses.of(4 * _weights(rng, SIZES[2], pooled) * (rng.random(pooled) < 0.5))
    return _network(
        "images",
        [_lif("maps", *CONV.outputs), _lif("pooled", *POOL.outputs), _lif("out", SIZES[2])],
        [
            Conv2d(name="conv", source="in", target="maps", weight=weight, conv=CONV),
            SumPool2d(name="pool", source="maps", target="pooled", conv=POOL, weight=0.25),
            Sparse(name="read", source="pooled", target="out", synapses=read),
        ],
    )


def _rectified() -> Network:
    relu = Relay(name="1", threshold=np.zeros(SIZES[1]), block_bounds=(0, SIZES[1]), rectified=True)
    return _perceptron("rectified", relu, 3, 2)


NETWORKS = {
    network.name: network
    for network in (
        _perceptron("spikes", _lif("1", SIZES[1]), 1, 0),
        _perceptron("values", _lif("1", SIZES[1]), 3, 1),
        _rectified(),
        _recurrent(),
        _images(),
    )
}


def payloads(case: str) -> np.ndarray:
    """``(samples, steps, *shape)`` integers; every third step of ``values`` has ones alone."""
    rng = np.random.default_rng(7)
    source = NETWORKS[case].input
    shape = (5, 12, *source.shape)
    found = rng.integers(1, source.payload_max + 1, shape) * (rng.random(shape) < 0.2)
    if case == "values":
        found[:, ::3] = found[:, ::3] > 0
    return found
