"""Gated networks with every option of a gate and of its pair, and input for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from support.gated import At, rate_gated_network

from mapping.ir.network import LowRank, Network, RankGate


def optioned_network(
    *,
    at: At = "source",
    hidden: int = 0,
    traced: bool = True,
    biased: bool = False,
    changes: bool = False,
    seed: int = 0,
) -> Network:
    """The network of :func:`rate_gated_network` with other options.

    Args:
        at: where closed blocks are held back.
        hidden: size of the gate's rectified population.
        traced: whether gates may change only when their trace moves.
        biased: whether the pair has level biases.
        changes: whether the input sends the changes of a graded signal rather than spikes.
        seed: of all weights.
    """
    network = rate_gated_network(at=at, seed=seed)
    rng = np.random.default_rng(seed)
    pair, decoder = network.projections
    assert isinstance(pair, LowRank)
    assert isinstance(pair.gate, RankGate)
    gate = replace(pair.gate, trace_threshold=pair.gate.trace_threshold * traced)
    if hidden:
        gate = replace(
            gate,
            weight=rng.normal(0, 1, (2, hidden)),
            hidden_weight=rng.normal(0, 1, (hidden, 2)),
            hidden_bias=rng.normal(0.2, 0.3, hidden),
        )
    pair = replace(
        pair,
        gate=gate,
        sigma=pair.sigma or changes,
        level_bias=rng.normal(0, 0.1, (2, 8)) if biased else np.zeros((0, 0)),
    )
    source, *others = network.populations
    if changes:
        source = replace(source, payload_max=3, payload_scale=1 / 3, delta=True)
    return replace(network, populations=(source, *others), projections=(pair, decoder))


def optioned_networks() -> st.SearchStrategy[Network]:
    """Any combination of options, any weights."""
    return st.builds(
        optioned_network,
        at=st.sampled_from(["relay", "source"]),
        hidden=st.sampled_from([0, 3]),
        traced=st.booleans(),
        biased=st.booleans(),
        changes=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )


def input_for(network: Network, *, samples: int = 6, steps: int = 12, seed: int = 0) -> np.ndarray:
    """``(samples, steps, inputs)`` payloads over the whole range, in a third of the places."""
    source = network.input
    rng = np.random.default_rng(seed)
    size = (samples, steps, source.size)
    signal = rng.integers(source.payload_min, source.payload_max, size, endpoint=True)
    spikes = np.where(rng.random(size) < 0.35, signal, 0)
    return np.diff(spikes, axis=1, prepend=0) if source.delta else spikes
