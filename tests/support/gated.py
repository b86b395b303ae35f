"""Gated networks of the README's shape, compiled for a small chip, and input for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from support.chips import tiny_chip
from support.networks import digits_like_network

from mapping.artifact.schema import Artifact
from mapping.ir.network import LowRank, Network, RankGate
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from simulators.trace import Stimulus

At = Literal["relay", "source"]


def rate_gated_network(*, at: At = "source", seed: int = 0) -> Network:
    """12 binary inputs, levels 2, 4 and 6, 8 hidden and 3 output neurons, a gate at ``at``."""
    network = digits_like_network(
        rank=6, levels=(2, 4, 6), hidden=8, classes=3, shape=(12,), payload_max=1, seed=seed
    )
    pair, decoder = network.projections
    assert isinstance(pair, LowRank)
    rng = np.random.default_rng(seed)
    gate = RankGate(
        weight=rng.normal(0, 1, (2, 2)),
        bias=np.array([0.5, 0.3]),
        cost=np.array([0.3, 0.6]),
        decay=0.75,
        trace_decay=0.75,
        trace_threshold=2.0,
        at=at,
    )
    piled = at == "source"
    threshold = np.full(6, 0.3 if piled else 0.0)
    gated = replace(pair, gate=gate, sigma=piled, delta=piled, relay_threshold=threshold)
    return replace(network, projections=(gated, decoder))


def spikes(samples: int = 40, steps: int = 12, seed: int = 1) -> Stimulus:
    """Binary input for it, with labels."""
    rng = np.random.default_rng(seed)
    payloads = (rng.random((samples, steps, 12)) < 0.4).astype(np.int64)
    return Stimulus(payloads=payloads, labels=rng.integers(0, 3, samples))


@cache
def compiled(at: At = "source", *, calibrated: bool = True) -> CompileResult:
    """The network on a chip of 3 × 2 tiles, priced on :func:`spikes`."""
    calibration = Calibration(payloads=spikes().payloads) if calibrated else None
    return compile_network(
        rate_gated_network(at=at),
        tiny_chip(width=3, height=2, cores_per_tile=2),
        CompileOptions(neurons_per_core=6),
        calibration=calibration,
    )


def program(at: At = "source") -> Artifact:
    """The compiled program."""
    return compiled(at).artifact
