"""Relays on the chip's grid: which of them have a bound, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.errors import refused
from support.networks import changed, random_payloads, relay_network

from mapping.errors import QuantizationError, UnsupportedModelError
from mapping.ir.network import Dense, Network, Relay
from mapping.ir.quantized import IntegerRelay
from mapping.passes.quantize import Quantize
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

CHIP = load_target("loihi2")


def test_relays_that_feed_each_other_are_refused() -> None:
    network = relay_network()
    loop = Dense(name="loop", source="z", target="z", weight=np.ones((2, 2)))
    looped = replace(network, projections=(*network.projections, loop))
    with refused(UnsupportedModelError, "ADL-QNT-03", where="by-hand", remedy="spiking"):
        Quantize().run(looped, CHIP)


def _summing(*, changes: bool = False, **relay: Any) -> Network:
    """Relays that sum their input over the steps; the input may send changes."""
    network = changed(relay_network(), "z", sigma=True, **relay)
    return changed(network, "in", delta=changes)


def _beside(network: Network) -> Network:
    """``network`` whose relays also sum the spikes of the output."""
    back = Dense(name="back", source="out", target="z", weight=np.ones((2, 3)))
    return replace(network, projections=(*network.projections, back))


def _after(first: Relay) -> Network:
    """Relays that sum what relays before them send of an input coded by changes."""
    network = _summing(changes=True)
    v, u = network.projections
    middle = Dense(name="m", source=first.name, target="z", weight=np.eye(2))
    return replace(
        network,
        populations=(network.input, first, *network.populations[1:]),
        projections=(replace(v, target=first.name), middle, u),
    )


def _before(**relay: Any) -> Relay:
    return Relay(**{"name": "y", "threshold": np.zeros(2), "block_bounds": (0, 2), **relay})


UNBOUNDED = {
    "values are summed": _summing(),
    "sums of values are taken back by a gate": _summing(delta=True, gates_needed=(1,)),
    "values come beside changes": _beside(_summing(changes=True)),
    "changes were lost below a threshold": _after(_before(threshold=np.full(2, 0.1))),
    "changes were lost at a gate": _after(_before(gates_needed=(1,))),
    "changes were rectified": _after(_before(rectified=True)),
    "a bias joined the changes": _after(_before(bias=np.ones(2))),
}
BOUNDED = {
    "sums of values are sent once they are large": _summing(delta=True),
    "changes are summed": _summing(changes=True),
    "changes are summed behind a gate": _summing(changes=True, gates_needed=(1,)),
    "changes were passed on": _after(_before()),
    "changes are those of a sum": _after(_before(sigma=True, delta=True)),
}


@pytest.mark.parametrize("case", UNBOUNDED)
def test_relays_that_sum_without_end_are_refused(case: str) -> None:
    with refused(
        QuantizationError,
        "ADL-QNT-04",
        where="z",
        message="the sum of the values of every step",
        remedy="drop sigma",
    ):
        Quantize().run(UNBOUNDED[case], CHIP)


@pytest.mark.parametrize("case", BOUNDED)
def test_relays_that_sum_what_has_a_bound_are_quantised(case: str) -> None:
    image = Quantize().run(BOUNDED[case], CHIP)
    relay = image.population("z")
    assert isinstance(relay, IntegerRelay)
    assert relay.sigma


def test_relays_may_follow_relays() -> None:
    network = relay_network()
    v, u = network.projections
    second = Relay(name="y", threshold=np.zeros(2), block_bounds=(0, 1, 2))
    middle = Dense(name="m", source="z", target="y", weight=np.array([[1.0, -0.5], [0.25, 2.0]]))
    deeper = replace(
        network,
        populations=(network.input, second, *network.populations[1:]),
        projections=(v, middle, replace(u, source="y")),
    )
    image = Quantize().run(deeper, CHIP)
    payloads = random_payloads(deeper, samples=10, steps=20)
    wanted = run_float_network(deeper, payloads)["out"]
    assert wanted.any()
    assert (run_integer_network(image, payloads).spikes["out"] != wanted).mean() < 0.05
