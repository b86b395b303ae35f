"""Gates on the chip's grid: what is exact, and how far the rest may be from the float network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.gate_options import input_for, optioned_network, optioned_networks
from support.networks import changed

from mapping.ir.network import Dense, Gate, Input, LowRank, Network, Relay
from mapping.ir.quantized import IntegerGate, IntegerRelay, QuantizedNetwork
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.semantics import fixedpoint as fx
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

CHIP = load_target("loihi2")
prices = st.sampled_from([0.0, 0.5, 2.0, 8.0])


def quantised(network: Network, bits: int = 8) -> tuple[Network, QuantizedNetwork]:
    """The float network as the quantiser sees it, and its image."""
    realised = realise_factors(network)
    return realised, Quantize(weight_bits=bits).run(realised, CHIP)


def integer_gate(image: QuantizedNetwork) -> IntegerGate:
    """The gate population of ``image``."""
    gate = image.population("enc/gate")
    assert isinstance(gate, IntegerGate)
    return gate


def dense(realised: Network, name: str) -> Dense:
    """The float projection ``name``, or of which the integer one is a block, ``….0``."""
    (found,) = (p for p in realised.projections if f"{name}.".startswith(f"{p.name}."))
    assert isinstance(found, Dense)
    return found


@settings(max_examples=20)
@given(network=optioned_networks(), bits=st.integers(2, 8))
def test_control_weights_are_exact_whatever_the_bits(network: Network, bits: int) -> None:
    """A control input counts, or is the trace itself: there is nothing to round."""
    realised, image = quantised(network, bits)
    control = [p for p in image.projections if p.spec.port == "control"]
    assert {dense(realised, p.spec.name).name for p in control} == {
        p.name for p in realised.projections if isinstance(p, Dense) and p.port == "control"
    }
    for projection in control:
        weight = dense(realised, projection.spec.name).weight
        for payload in (1, -1, 12345):
            sent = np.full((1, projection.spec.columns), payload)
            arrived = fx.synaptic_sum(
                projection.weights.astype(np.int64), sent, projection.spec.exponent, graded=True
            )
            np.testing.assert_array_equal(arrived[0], payload * weight.sum(axis=1))
        assert projection.spec.weight_bits == 2
    told = {f.projection: f for f in image.fidelity}
    assert all(told[p.spec.name].relative_error == 0 for p in control)


@settings(max_examples=30)
@given(network=optioned_networks(), price=st.floats(0, 5))
def test_a_gate_is_on_while_its_gain_exceeds_what_the_next_level_costs(
    network: Network, price: float
) -> None:
    """Around the threshold: what the integer gate does with a gain is what the float gate does."""
    realised, image = quantised(network)
    gate, wanted = integer_gate(image), realised.population("enc/gate")
    assert isinstance(wanted, Gate)
    thresholds = gate.thresholds(price)
    for away in (-2, -1, 1, 2):
        gains = thresholds + away
        margin = gains / gate.scale + wanted.bias - price * wanted.cost
        np.testing.assert_array_equal(gains > thresholds, margin > 0)


@settings(max_examples=20)
@given(network=optioned_networks(), low=st.floats(0, 5), rise=st.floats(0, 5))
def test_a_rising_price_moves_every_threshold_by_its_cost(
    network: Network, low: float, rise: float
) -> None:
    _, image = quantised(network)
    gate = integer_gate(image)
    moved = gate.thresholds(low + rise) - gate.thresholds(low)
    np.testing.assert_allclose(moved, gate.scale * rise * gate.cost, atol=1.0)
    assert (moved >= 0).all()


def test_no_price_moves_a_threshold_beyond_what_a_gain_can_be() -> None:
    """Gains saturate short of 2**23, so beyond it gates stay off, or on, and nothing wraps."""
    gate = integer_gate(quantised(optioned_network())[1])
    assert gate.thresholds(1e30).tolist() == [2**23] * 2
    eager = replace(gate, bias=np.full(2, 1e30))
    assert eager.thresholds(0.0).tolist() == [-(2**23)] * 2


@settings(max_examples=30)
@given(decay=st.floats(0, 1), trace_decay=st.floats(0, 1), threshold=st.floats(1e-3, 30))
def test_decays_and_the_trace_threshold_are_rounded_to_the_chips_units(
    decay: float, trace_decay: float, threshold: float
) -> None:
    network = optioned_network(changes=True)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is not None
    own = replace(pair.gate, decay=decay, trace_decay=trace_decay, trace_threshold=threshold)
    _, image = quantised(changed(network, "enc", gate=own))
    gate, trace = integer_gate(image), image.population("enc/trace")
    assert isinstance(trace, IntegerRelay)
    assert abs(gate.gain_decay / 4096 - (1 - decay)) <= 0.5 / 4096
    assert abs(gate.trace_decay / 4096 - (1 - trace_decay)) <= 0.5 / 4096
    assert gate.trace_threshold >= 1, "0 would evaluate every step"
    rounded_up = gate.trace_threshold - threshold * trace.block_scales[0]
    assert -1e-6 < rounded_up < 1 + 1e-6


@settings(max_examples=20)
@given(network=optioned_networks(), bits=st.integers(2, 8))
def test_biases_of_relays_are_rounded_at_the_scale_of_their_block(
    network: Network, bits: int
) -> None:
    realised, image = quantised(network, bits)
    for relay in image.populations:
        if isinstance(relay, IntegerRelay):
            wanted = realised.population(relay.name)
            assert isinstance(wanted, Relay)
            scales = np.repeat(relay.block_scales, np.diff(relay.block_bounds))
            assert (np.abs(relay.bias - wanted.bias * scales) <= 0.5).all()


def test_a_level_bias_is_one_packet_of_one_unit() -> None:
    _, image = quantised(optioned_network(biased=True))
    bias = image.population("enc/level-bias")
    assert isinstance(bias, IntegerRelay)
    assert bias.bias.tolist() == [1, 1]
    spec = next(p.spec for p in image.projections if p.spec.source == bias.name)
    assert spec.part == "bias"


def scale_of(image: QuantizedNetwork, name: str, start: int) -> float:
    """Integer units per float unit of what a block of ``name`` sends or receives."""
    match population := image.population(name):
        case Input():
            return 1 / population.payload_scale
        case IntegerRelay():
            return population.block_scales[population.block_bounds.index(start)]
    assert isinstance(population, IntegerGate)
    return population.scale


def input_error(
    realised: Network,
    image: QuantizedNetwork,
    target: str,
    sent: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
) -> np.ndarray:
    """Bound on the difference between the signal of ``target`` and its scaled float counterpart.

    Weights were rounded, the source is off by ``errors``, and the complete sum is rounded down.
    """
    total = np.zeros((*sent["in"].shape[:2], image.population(target).size))
    for projection in image.projections:
        spec = projection.spec
        if (spec.target, spec.port) != (target, "signal"):
            continue
        whole = dense(realised, spec.name)
        rows = slice(spec.target_start, spec.target_stop)
        read = slice(spec.source_start, spec.source_stop)
        first = whole.source_start
        weight = whole.weight[rows, spec.source_start - first : spec.source_stop - first]
        ratio = scale_of(image, target, spec.target_start)
        wanted = weight * ratio / scale_of(image, spec.source, spec.source_start)
        found = projection.weights * 2.0**spec.exponent
        error = np.abs(sent[spec.source][..., read]) @ np.abs(found - wanted).T
        error += errors[spec.source][..., read] @ np.abs(wanted).T + 1
        total[:, 1:, rows] += error[:, :-1]
    return total


def evaluated(realised: Network, payloads: np.ndarray) -> np.ndarray:
    """``(samples, steps)`` whether the gates may change, by the trace of an input of spikes."""
    gate = realised.population("enc/gate")
    assert isinstance(gate, Gate)
    if gate.trace_threshold == 0:
        return np.ones(payloads.shape[:2], bool)
    assert gate.trace_decay == 1
    arrived = np.pad(payloads.sum(axis=2), ((0, 0), (2, 0)))[:, : payloads.shape[1]]
    due = np.zeros(payloads.shape[:2], bool)
    seen = np.zeros(len(payloads))
    for step, trace in enumerate(np.cumsum(arrived, axis=1).T):
        due[:, step] = np.abs(trace - seen) > gate.trace_threshold
        seen = np.where(due[:, step], trace, seen)
    return due


@settings(max_examples=60)
@given(
    at=st.sampled_from(["relay", "source"]),
    hidden=st.sampled_from([0, 3]),
    traced=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([5, 8]),
    price=prices,
)
def test_integer_gates_and_relays_follow_the_float_network(
    at: str, hidden: int, traced: bool, seed: int, bits: int, price: float
) -> None:
    """Wherever the float gates are not too close to call, the integer gates decide alike, and
    what relays behind them send differs by no more than rounding explains."""
    network = optioned_network(
        at=at,  # type: ignore[arg-type]
        hidden=hidden,
        traced=traced,
        biased=True,
        seed=seed,
    )
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is not None
    network = changed(
        network,
        "enc",
        sigma=False,
        delta=False,
        relay_threshold=np.zeros(6),
        gate=replace(pair.gate, trace_decay=1.0),
    )
    realised, image = quantised(network, bits)
    payloads = input_for(network, samples=10, steps=16, seed=seed % 1000)
    wanted = run_float_network(network, payloads, price=price)
    found = run_integer_network(image, payloads, price=price).spikes
    sent = {"in": payloads, **found}
    errors = {"in": np.zeros(payloads.shape)}
    errors["enc/relay"] = input_error(realised, image, "enc/relay", sent, errors)
    if hidden:
        error = input_error(realised, image, "enc/scorer", sent, errors)
        errors["enc/scorer"] = error + 0.5
    gate = integer_gate(image)
    fed = input_error(realised, image, "enc/gate", sent, errors)
    drift, gain = (np.zeros((10, gate.size)) for _ in range(2))
    due = evaluated(realised, payloads)
    clear = np.ones(found["enc/gate"].shape, bool)
    source = "enc/scorer" if hidden else "enc/relay"
    weight = dense(realised, "enc/gains" if hidden else "enc/features").weight
    for step in range(16):
        drift = 0.75 * drift + fed[:, step] + 1
        if step:
            gain = 0.75 * gain + wanted[source][:, step - 1, : weight.shape[1]] @ weight.T
        else:
            gain = 0.75 * gain
        margin = gate.scale * (gain + gate.bias - price * gate.cost)
        before = clear[:, step - 1] if step else np.ones_like(clear[:, 0])
        called = np.abs(margin) > drift + 0.5
        clear[:, step] = np.where(due[:, step, None], called, before)
    on_float, on_integer = (np.cumsum(r["enc/gate"], axis=1) for r in (wanted, found))
    np.testing.assert_array_equal(on_integer[clear], on_float[clear])
    event(f"changes of gates: {min(int(np.abs(found['enc/gate']).sum()) // 20 * 20, 100)}")
    event(f"clear: {clear.mean():.1f}")

    alike = (on_integer == on_float).all(axis=2)
    alike[:, 2:] = alike[:, 1:-1] & alike[:, :-2]
    alike[:, :2] = True
    scales = np.array([scale_of(image, "enc/relay", start) for start in (0, 2, 4)])
    off = np.abs(found["enc/relay"] - wanted["enc/relay"] * np.repeat(scales, 2))
    assert (off <= errors["enc/relay"] + 1e-6)[alike].all()
    np.testing.assert_array_equal(found["enc/level-bias"][alike], wanted["enc/level-bias"][alike])


def test_few_decisions_are_too_close_to_call() -> None:
    """With 8 bits the answers of the gates agree in all but a few of a hundred steps."""
    differ = []
    for seed in range(10):
        network = optioned_network(hidden=3 * (seed % 2), biased=True, seed=seed)
        payloads = input_for(network, samples=20, steps=16)
        _, image = quantised(network)
        wanted = run_float_network(network, payloads, price=1.0)["enc/gate"]
        found = run_integer_network(image, payloads, price=1.0).spikes["enc/gate"]
        assert wanted.any()
        on = [np.cumsum(events, axis=1) for events in (wanted, found)]
        differ.append((on[0] != on[1]).mean())
    assert np.mean(differ) < 0.01


@pytest.mark.parametrize("price", [0.0, 1.0])
@pytest.mark.parametrize("at", ["relay", "source"])
def test_the_class_of_the_integer_network_is_that_of_the_float_network(
    at: str, price: float
) -> None:
    agree = []
    for seed in range(6):
        network = optioned_network(at=at, biased=True, seed=seed)  # type: ignore[arg-type]
        decoder = network.projections[1].weight * 3  # type: ignore[union-attr]
        network = changed(changed(network, "dec", weight=decoder), "hidden", current_decay=0.0)
        payloads = input_for(network, samples=30, steps=30)
        _, image = quantised(network)
        wanted = run_float_network(network, payloads, price=price)["out"].sum(axis=1)
        found = run_integer_network(image, payloads, price=price).spikes["out"].sum(axis=1)
        ranked = np.sort(wanted, axis=1)
        clear = ranked[:, -1] - ranked[:, -2] > 2
        agree.append((wanted.argmax(axis=1) == found.argmax(axis=1))[clear])
    assert len(np.concatenate(agree)) > 40
    assert np.concatenate(agree).mean() > 0.95
