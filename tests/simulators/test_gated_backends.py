"""Gated networks in every backend: the same spikes, currents and voltages at every price."""

from __future__ import annotations

import numpy as np
import pytest
from support.chips import tiny_chip
from support.gate_options import input_for, optioned_network
from support.gated import At, program, spikes

from mapping.artifact.schema import Artifact
from mapping.pipeline import CompileOptions, compile_network
from simulators.backend import simulate
from simulators.trace import ExecutionTrace, Stimulus

PRICES = (0.0, 1.0, 3.0)


def assert_identical(one: ExecutionTrace, other: ExecutionTrace) -> None:
    """Spikes, u and v agree bit for bit, in the same populations."""
    for group in ("spikes", "u", "v"):
        wanted, found = getattr(one, group), getattr(other, group)
        assert wanted.keys() == found.keys()
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, f"{group} of {name}")


def assert_backends_agree(
    artifact: Artifact, stimulus: Stimulus, price: float, backends: tuple[str, ...]
) -> ExecutionTrace:
    """Run ``artifact`` in the oracle and in ``backends``; returns what the oracle found."""
    probe = ("u", "v")
    oracle = simulate(artifact, stimulus, "oracle", probe=probe, price=price)
    for backend in backends:
        found = simulate(artifact, stimulus, backend, probe=probe, price=price, deadline_s=120.0)
        assert_identical(oracle, found)
    return oracle


@pytest.mark.lava
@pytest.mark.parametrize("at", ["source", pytest.param("relay", marks=pytest.mark.slow)])
def test_fifty_samples_are_bit_identical_at_three_prices(at: At) -> None:
    on = []
    for price in PRICES:
        trace = assert_backends_agree(program(at), spikes(50, steps=7), price, ("chip", "lava"))
        assert trace.samples == 50
        assert trace.u.keys() == trace.v.keys() == {"hidden", "out"}
        assert trace.spikes["hidden"].any()
        events = trace.spikes["enc/gate"]
        assert (events > 0).any()
        assert (events < 0).any()
        on.append(np.cumsum(events, axis=1).mean())
    assert on[0] > on[1] > on[2] > 0


OPTIONS = [
    {"at": "relay", "hidden": 3, "biased": True, "changes": True},
    {"at": "source", "hidden": 3, "biased": True, "changes": True},
    {"at": "source", "traced": False, "changes": True},
    {"at": "relay", "traced": False, "biased": True},
]


@pytest.mark.lava
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_of_a_gate_is_the_same_in_lava(options: dict[str, object]) -> None:
    network = optioned_network(**options, seed=1)  # type: ignore[arg-type]
    chip = tiny_chip(width=3, height=3, cores_per_tile=2)
    artifact = compile_network(network, chip, CompileOptions(neurons_per_core=4)).artifact
    stimulus = Stimulus(payloads=input_for(network, samples=8))
    trace = assert_backends_agree(artifact, stimulus, 0.5, ("chip", "lava"))
    assert (trace.spikes["enc/gate"] > 0).any()
    assert (trace.spikes["enc/gate"] < 0).any()
    assert trace.spikes["hidden"].any()
