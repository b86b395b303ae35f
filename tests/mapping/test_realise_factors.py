from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    small_network,
)

from mapping.errors import ConfigError, UnsupportedModelError
from mapping.ir.network import Dense, LowRank, Network, Relay
from mapping.ir.timing import pipeline_latency
from mapping.passes.realise_factors import RealiseFactors
from mapping.semantics.float_net import run_float_network

CHIP = tiny_chip()


def test_a_factor_pair_becomes_v_relays_and_u() -> None:
    network = digits_like_network(relay_threshold=0.25)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    made = RealiseFactors().run(network, CHIP)
    assert [p.name for p in made.populations] == ["in", "enc/relay", "hidden", "out"]
    assert [p.name for p in made.projections] == ["enc/V", "enc/U", "dec"]
    relay = made.population("enc/relay")
    assert isinstance(relay, Relay)
    assert relay.block_bounds == (0, 4, 8, 16)
    np.testing.assert_array_equal(relay.threshold, np.full(16, 0.25))
    v, u, _ = made.projections
    assert isinstance(v, Dense)
    assert isinstance(u, Dense)
    assert (v.source, v.target, u.source, u.target) == ("in", "enc/relay", "enc/relay", "hidden")
    assert v.layer == u.layer == "enc"
    np.testing.assert_array_equal(v.weight, pair.V.T)
    np.testing.assert_array_equal(u.weight, pair.U)


@pytest.mark.parametrize("relay_threshold", [0.0, 0.2])
def test_the_realised_network_computes_the_same_step_by_step(relay_threshold: float) -> None:
    network = digits_like_network(relay_threshold=relay_threshold)
    made = RealiseFactors().run(network, CHIP)
    payloads = random_payloads(network)
    before, after = run_float_network(network, payloads), run_float_network(made, payloads)
    assert before["out"].any()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    for each in (network, made):
        assert pipeline_latency(each.graph(), "in", "out") == 3


@pytest.mark.parametrize("network", [dense_network(), recurrent_network()])
def test_a_network_without_factors_stays_as_it_is(network: Network) -> None:
    made = RealiseFactors().run(network, tiny_chip(graded_spikes=False))
    assert made.populations == network.populations
    assert made.projections == network.projections


def test_a_chip_without_graded_spikes_is_refused() -> None:
    with refused(
        UnsupportedModelError, "ADL-MDL-01", where="enc", message="tiny", remedy="full matrix"
    ):
        RealiseFactors().run(small_network(), tiny_chip(graded_spikes=False))


def test_a_population_named_as_the_relay_is_reported() -> None:
    network = small_network()
    hidden = replace(network.population("hidden"), name="enc/relay")
    enc, dec = network.projections
    renamed = replace(
        network,
        populations=(network.input, hidden, network.population("out")),
        projections=(replace(enc, target="enc/relay"), replace(dec, source="enc/relay")),
    )
    with refused(ConfigError, "ADL-NET-01", message="enc/relay", remedy="rename"):
        RealiseFactors().run(renamed, CHIP)
