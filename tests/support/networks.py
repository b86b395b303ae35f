"""Small float networks with random weights, and input for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapping.ir.network import Dense, Input, Lif, LowRank, Network, Relay


def digits_like_network(
    *,
    rank: int = 16,
    levels: tuple[int, ...] = (4, 8, 16),
    hidden: int = 64,
    classes: int = 10,
    shape: tuple[int, ...] = (8, 8),
    payload_max: int = 16,
    biases: bool = True,
    relay_threshold: float = 0.0,
    seed: int = 0,
) -> Network:
    """The network of the README: ``in`` → ``enc`` (low rank) → ``hidden`` → ``dec`` → ``out``.

    Args:
        rank, levels: of the factor pair; the last level is the rank.
        hidden, classes: neurons of the hidden and the output population.
        shape: of the input; payloads are ``0..payload_max`` and span 0..1 in float units.
        biases: whether the hidden neurons have a bias.
        relay_threshold: of every relay, in float units.
        seed: of the weights; they are scaled so that both populations spike.
    """
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return Network(
        name="digits-like",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=shape, payload_max=payload_max, payload_scale=1.0 / payload_max),
            Lif(
                name="hidden",
                shape=(hidden,),
                current_decay=0.5,
                voltage_decay=0.9,
                threshold=1.0,
                bias=rng.normal(0, 0.05, hidden) if biases else np.zeros(hidden),
            ),
            Lif(name="out", shape=(classes,), current_decay=0.0, voltage_decay=0.95, threshold=1.0),
        ),
        projections=(
            LowRank(
                name="enc",
                source="in",
                target="hidden",
                U=rng.normal(0, 1.2 / np.sqrt(rank), (hidden, rank)),
                V=rng.normal(0, 1.2 / np.sqrt(size), (size, rank)),
                levels=levels,
                relay_threshold=np.full(rank, relay_threshold),
            ),
            Dense(
                name="dec",
                source="hidden",
                target="out",
                weight=rng.normal(0, 1.6 / np.sqrt(hidden), (classes, hidden)),
            ),
        ),
    )


def small_network(*, biases: bool = True, seed: int = 0) -> Network:
    """The same graph with 12 inputs, rank 4 (levels 2 and 4), 8 hidden and 3 output neurons."""
    return digits_like_network(
        rank=4,
        levels=(2, 4),
        hidden=8,
        classes=3,
        shape=(12,),
        payload_max=3,
        biases=biases,
        seed=seed,
    )


def dense_network(
    sizes: tuple[int, ...] = (6, 5, 3), *, recurrent: bool = False, seed: int = 0
) -> Network:
    """A chain ``in`` → ``p1`` → … → ``out`` of dense projections ``w1``, ``w2``, …; binary input.

    Args:
        sizes: of the input and of every LIF population.
        recurrent: whether every LIF population but the last also feeds itself, by ``r1``, ….
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    names = ["in", *(f"p{n}" for n in range(1, len(sizes) - 1)), "out"]
    projections = [
        Dense(
            name=f"w{n + 1}",
            source=names[n],
            target=names[n + 1],
            weight=rng.normal(0, 1.5 / np.sqrt(sizes[n]), (sizes[n + 1], sizes[n])),
        )
        for n in range(len(sizes) - 1)
    ]
    if recurrent:
        projections += [
            Dense(
                name=f"r{n}",
                source=name,
                target=name,
                weight=rng.normal(0, 0.7 / np.sqrt(sizes[n]), (sizes[n], sizes[n])),
            )
            for n, name in enumerate(names[1:-1], start=1)
        ]
    lifs = [
        Lif(name=name, shape=(size,), current_decay=0.25, voltage_decay=0.9, threshold=1.0)
        for name, size in zip(names[1:], sizes[1:], strict=True)
    ]
    return Network(
        name="chain",
        dt_s=1e-3,
        output="out",
        populations=(Input(name="in", shape=(sizes[0],)), *lifs),
        projections=tuple(projections),
    )


def recurrent_network(seed: int = 0) -> Network:
    """6 binary inputs, 5 neurons that feed themselves, 3 output neurons."""
    return dense_network((6, 5, 3), recurrent=True, seed=seed)


def relay_network(seed: int = 0) -> Network:
    """A factor pair spelt out by hand: ``in`` → ``v`` → relays ``z`` → ``u`` → ``out``."""
    rng = np.random.default_rng(seed)
    return Network(
        name="by-hand",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(6,)),
            Relay(name="z", threshold=np.zeros(2), block_bounds=(0, 2)),
            Lif(name="out", shape=(3,), current_decay=0.0, voltage_decay=0.9, threshold=1.0),
        ),
        projections=(
            Dense(name="v", source="in", target="z", weight=rng.normal(0, 0.5, (2, 6))),
            Dense(name="u", source="z", target="out", weight=rng.normal(0, 2.0, (3, 2))),
        ),
    )


def random_payloads(
    network: Network, *, samples: int = 4, steps: int = 12, seed: int = 0
) -> np.ndarray:
    """Input over the whole payload range of ``network``, ``(samples, steps, *shape)``."""
    source = network.input
    return np.random.default_rng(seed).integers(
        source.payload_min, source.payload_max, (samples, steps, *source.shape), endpoint=True
    )


def changed(network: Network, name: str, /, **changes: object) -> Network:
    """``network`` with fields of the population or projection called ``name`` replaced."""
    populations, projections = (
        tuple(replace(e, **changes) if e.name == name else e for e in elements)
        for elements in (network.populations, network.projections)
    )
    return replace(network, populations=populations, projections=projections)
