from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.gate_options import optioned_network
from support.gated import At
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    small_network,
)

from mapping.errors import ConfigError
from mapping.ir.network import Dense, Gate, LowRank, Network, Relay
from mapping.ir.timing import pipeline_latency
from mapping.passes.realise_factors import realise_factors
from mapping.semantics.float_net import run_float_network

CHIP = tiny_chip()


def test_a_factor_pair_becomes_v_relays_and_u() -> None:
    network = digits_like_network(relay_threshold=0.25)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    made = realise_factors(network)
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
    made = realise_factors(network)
    payloads = random_payloads(network)
    before, after = run_float_network(network, payloads), run_float_network(made, payloads)
    assert before["out"].any()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    for each in (network, made):
        assert pipeline_latency(each.graph(), "in", "out") == 3


@pytest.mark.parametrize("network", [dense_network(), recurrent_network()])
def test_a_network_without_factors_stays_as_it_is(network: Network) -> None:
    made = realise_factors(network)
    assert made.populations == network.populations
    assert made.projections == network.projections


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
        realise_factors(renamed)


OPTIONS = [
    dict(zip(("hidden", "traced", "biased"), chosen, strict=True))
    for chosen in itertools.product((0, 3), (False, True), (False, True))
]


def dense(network: Network, name: str) -> Dense:
    """The projection called ``name``."""
    (found,) = (p for p in network.projections if p.name == name)
    assert isinstance(found, Dense)
    return found


@pytest.mark.parametrize("at", ["relay", "source"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_gated_pair_becomes_what_its_options_ask_for(at: At, options: dict[str, Any]) -> None:
    hidden, traced, biased = options.values()
    made = realise_factors(optioned_network(at=at, **options))
    populations = [
        "in",
        "enc/relay",
        *["enc/level-bias"] * biased,
        *["enc/scorer"] * (hidden > 0),
        *["enc/trace"] * traced,
        "enc/gate",
        "hidden",
        "out",
    ]
    assert [p.name for p in made.populations] == populations
    ways = [
        ("enc/V", "V", "signal", "in", "enc/relay"),
        ("enc/U", "U", "signal", "enc/relay", "hidden"),
        *[("enc/B", "bias", "signal", "enc/level-bias", "hidden")] * biased,
        ("enc/features", "gate", "signal", "enc/relay", "enc/scorer" if hidden else "enc/gate"),
        *[("enc/gains", "gate", "signal", "enc/scorer", "enc/gate")] * (hidden > 0),
        *[("enc/sum", "gate", "signal", "in", "enc/trace")] * traced,
        *[("enc/trigger", "gate", "control", "enc/trace", "enc/gate")] * traced,
        *[("enc/gate → enc/relay", "gate", "control", "enc/gate", "enc/relay")] * (at == "relay"),
        *[("enc/gate → enc/level-bias", "gate", "control", "enc/gate", "enc/level-bias")] * biased,
        ("dec", "full", "signal", "hidden", "out"),
    ]
    found = [dense(made, p.name) for p in made.projections]
    assert [(p.name, p.part, p.port, p.source, p.target) for p in found] == ways
    assert {p.layer for p in found} == {"enc", "dec"}


@pytest.mark.parametrize("at", ["relay", "source"])
def test_blocks_wait_for_gates_at_the_relay_or_at_the_host(at: At) -> None:
    """Gate k is one that every higher block counts; level biases are added wherever it is."""
    made = realise_factors(optioned_network(at=at, biased=True))
    relay, bias = made.population("enc/relay"), made.population("enc/level-bias")
    assert isinstance(relay, Relay)
    assert isinstance(bias, Relay)
    v = dense(made, "enc/V")
    if at == "relay":
        assert (relay.gates_needed, v.gate, v.gates_needed) == ((0, 1, 2), "", ())
        counted = dense(made, "enc/gate → enc/relay").weight
        assert counted.tolist() == [[0, 0]] * 2 + [[1, 0]] * 2 + [[1, 1]] * 2
    else:
        assert (relay.gates_needed, v.gate, v.gates_needed) == ((0, 0, 0), "enc/gate", (0, 1, 2))
    assert bias.gates_needed == (1, 2)
    assert bias.bias.tolist() == [1, 1]
    assert bias.block_bounds == (0, 1, 2)
    assert dense(made, "enc/gate → enc/level-bias").weight.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("hidden", [0, 3])
def test_gate_scorer_and_trace_carry_the_constants_of_the_pair(hidden: int) -> None:
    network = optioned_network(hidden=hidden, biased=True)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is not None
    made = realise_factors(network)
    gate = made.population("enc/gate")
    assert isinstance(gate, Gate)
    for name in ("bias", "cost", "decay", "trace_decay", "trace_threshold"):
        np.testing.assert_array_equal(getattr(gate, name), getattr(pair.gate, name))
    features = dense(made, "enc/features")
    assert features.columns(made.population("enc/relay")) == slice(0, 2)
    if hidden:
        scorer = made.population("enc/scorer")
        assert isinstance(scorer, Relay)
        assert (scorer.rectified, scorer.gates_needed) == (True, (0,))
        np.testing.assert_array_equal(scorer.bias, pair.gate.hidden_bias)
        np.testing.assert_array_equal(features.weight, pair.gate.hidden_weight)
        np.testing.assert_array_equal(dense(made, "enc/gains").weight, pair.gate.weight)
    else:
        np.testing.assert_array_equal(features.weight, pair.gate.weight)
    np.testing.assert_array_equal(dense(made, "enc/B").weight, pair.level_bias.T)
    assert dense(made, "enc/sum").weight.tolist() == [[1] * 12]
    assert dense(made, "enc/trigger").weight.tolist() == [[1], [1]]


@pytest.mark.parametrize("at", ["relay", "source"])
@pytest.mark.parametrize("hidden", [0, 3])
def test_a_decision_acts_as_many_steps_later_as_the_gate_says(at: At, hidden: int) -> None:
    """Two runs whose features first differ in one step differ in an upper block D steps later."""
    network = optioned_network(at=at, hidden=hidden, traced=False)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is not None
    eager = replace(pair.gate, bias=np.full(2, -1e-9), weight=np.abs(pair.gate.weight))
    if hidden:
        eager = replace(eager, hidden_weight=np.eye(3, 2), hidden_bias=np.zeros(3))
    positive = replace(
        pair, gate=eager, V=np.abs(pair.V), sigma=False, delta=False, relay_threshold=np.zeros(6)
    )
    network = replace(network, projections=(positive, network.projections[1]))
    payloads = np.ones((1, 12, 12), np.int64)
    sent = run_float_network(network, payloads)["enc/relay"][0]
    features, upper = (np.flatnonzero(part.any(axis=1))[0] for part in (sent[:, :2], sent[:, 2:]))
    assert features == 1
    assert upper - features == eager.delay
