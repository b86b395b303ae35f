from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.networks import (
    changed,
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.errors import ConfigError, QuantizationError
from mapping.ir.network import Dense, Input, Lif, Network, Population, Relay
from mapping.ir.quantized import (
    IntegerLif,
    IntegerProjection,
    IntegerRelay,
    QuantizedNetwork,
)
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

CHIP = load_target("loihi2")
MAKERS = (digits_like_network, small_network, dense_network, recurrent_network, relay_network)
networks = st.builds(
    lambda make, seed: make(seed=seed), st.sampled_from(MAKERS), st.integers(0, 2**32 - 1)
)
all_bits = st.integers(2, 8)


def quantised(network: Network, bits: int = 8) -> tuple[Network, QuantizedNetwork]:
    """The float network as the quantiser sees it, and its image."""
    realised = realise_factors(network)
    return realised, Quantize(weight_bits=bits).run(realised, CHIP)


def chain(source: Input, weight: np.ndarray, target: Lif) -> Network:
    """One dense projection ``w``."""
    dense = Dense(name="w", source=source.name, target=target.name, weight=weight)
    return Network(
        name="chain",
        dt_s=1e-3,
        output=target.name,
        populations=(source, target),
        projections=(dense,),
    )


def lif(size: int, **changes: object) -> Lif:
    """A LIF population called ``out``."""
    made = Lif(name="out", shape=(size,), current_decay=0.0, voltage_decay=0.9, threshold=1.0)
    return replace(made, **changes)


def dense_of(realised: Network, projection: IntegerProjection) -> Dense:
    """The float projection that an integer projection is a block of."""
    found = [
        p
        for p in realised.projections
        if isinstance(p, Dense)
        and (p.layer, p.source, p.target)
        == (projection.spec.layer, projection.spec.source, projection.spec.target)
    ]
    assert len(found) == 1
    return found[0]


def block_of(realised: Network, projection: IntegerProjection) -> np.ndarray:
    """The float weights that an integer projection stands for."""
    spec = projection.spec
    rows = slice(spec.target_start, spec.target_stop)
    return dense_of(realised, projection).weight[rows, spec.source_start : spec.source_stop]


def float_per_unit(network: QuantizedNetwork, projection: IntegerProjection) -> float:
    """Float weight that one unit of mantissa stands for, from the recorded scales alone."""
    spec = projection.spec
    source, target = network.population(spec.source), network.population(spec.target)
    per_payload = 1.0
    if isinstance(source, Input):
        per_payload = source.payload_scale
    elif isinstance(source, IntegerRelay):
        per_payload = 1.0 / source.block_scales[source.block_bounds.index(spec.source_start)]
    if isinstance(target, IntegerRelay):
        scale = target.block_scales[target.block_bounds.index(spec.target_start)]
    else:
        assert isinstance(target, IntegerLif)
        scale = target.scale
    return 2.0 ** (spec.weight_shift + spec.exponent) / (scale * per_payload)


def lava_rounding(weights: np.ndarray, bits: int) -> np.ndarray:
    """What Lava's ``Dense`` makes of integer weights in its mixed-sign mode."""
    lost = 8 - bits + 1
    return (np.clip(weights, -256, 255) >> lost) << lost


def peaks(network: QuantizedNetwork, payloads: np.ndarray) -> dict[str, tuple[int, int]]:
    """Smallest and largest dendritic input of every population over a run, without wrapping."""
    sent = run_integer_network(network, payloads).spikes
    sent[network.input.name] = payloads.reshape(*payloads.shape[:2], -1)
    total = {p.name: np.zeros_like(sent[p.name]) for p in network.populations}
    for projection in network.projections:
        spec = projection.spec
        spikes = sent[spec.source][..., spec.source_start : spec.source_stop]
        if not spec.graded:
            spikes = (spikes != 0).astype(int)
        reached = spikes @ projection.weights.astype(np.int64).T
        shifted = np.floor(reached * 2.0**spec.exponent).astype(np.int64)
        total[spec.target][..., spec.target_start : spec.target_stop] += shifted
    return {name: (int(a.min()), int(a.max())) for name, a in total.items()}


def adversarial(network: QuantizedNetwork) -> np.ndarray:
    """Random input, and for each row behind the input the two that drive it hardest."""
    source = network.input
    rows = [p.mantissas for p in network.projections if p.spec.source == source.name]
    directions = np.concatenate(rows)
    low, high = source.payload_min, source.payload_max
    hardest = np.where(np.concatenate([directions, -directions]) > 0, high, low)
    held = np.repeat(hardest[:, None], 8, axis=1).reshape(len(hardest), 8, *source.shape)
    rng = np.random.default_rng(0)
    extremes = rng.choice([low, high], (4, 8, *source.shape))
    return np.concatenate([held, extremes])


@settings(max_examples=14)
@given(network=networks, bits=all_bits)
def test_weights_lie_on_the_grid(network: Network, bits: int) -> None:
    _, image = quantised(network, bits)
    numeric = CHIP.numeric
    for projection in image.projections:
        spec = projection.spec
        assert spec.weight_bits == bits
        assert projection.mantissas.min() >= -(2 ** (bits - 1))
        assert projection.mantissas.max() < 2 ** (bits - 1)
        assert numeric.weight_exponent_min.value <= spec.exponent
        assert spec.exponent <= numeric.weight_exponent_max.value
        weights = projection.weights
        np.testing.assert_array_equal(lava_rounding(weights, bits), weights)


@settings(max_examples=14)
@given(network=networks, bits=all_bits)
def test_every_weight_is_rounded_to_the_nearest_or_clipped(network: Network, bits: int) -> None:
    realised, image = quantised(network, bits)
    top, bottom = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    for projection in image.projections:
        wanted = block_of(realised, projection) / float_per_unit(image, projection)
        nearest = np.clip(wanted, bottom, top)
        np.testing.assert_array_less(np.abs(projection.mantissas - nearest), 0.5 + 1e-9)


def _assert_told_truly(realised: Network, image: QuantizedNetwork) -> None:
    assert [f.projection for f in image.fidelity] == [p.spec.name for p in image.projections]
    for projection, told in zip(image.projections, image.fidelity, strict=True):
        weight = block_of(realised, projection)
        unit = float_per_unit(image, projection)
        error = np.sqrt(((projection.mantissas * unit - weight) ** 2).sum() / (weight**2).sum())
        assert told.relative_error == pytest.approx(error, rel=1e-9)
        wanted = np.rint(weight / unit)
        bound = 2 ** (projection.spec.weight_bits - 1)
        assert told.clipped == pytest.approx(((wanted >= bound) | (wanted < -bound)).mean())
        assert told.zeroed == pytest.approx(((projection.mantissas == 0) & (weight != 0)).mean())


@settings(max_examples=14)
@given(network=networks, bits=all_bits)
def test_fidelity_is_what_an_independent_count_finds(network: Network, bits: int) -> None:
    _assert_told_truly(*quantised(network, bits))


def test_clipping_is_told() -> None:
    """Two projections share a scale that suits the first; the second has outliers to cut."""
    rng = np.random.default_rng(0)
    first = chain(Input(name="in", shape=(400,)), rng.uniform(-1, 1, (100, 400)), lif(100))
    outliers = rng.uniform(-0.5, 0.5, (100, 400))
    outliers[7, 7] = 0.515
    second = Dense(name="second", source="in", target="out", weight=outliers)
    network = replace(first, projections=(*first.projections, second))
    image = Quantize().run(network, CHIP)
    assert image.projections[1].mantissas[7, 7] == 127
    assert 0 < image.fidelity[1].clipped < 0.01
    _assert_told_truly(network, image)


def test_weights_too_small_for_the_grid_are_told_as_zeroed() -> None:
    weight = np.array([[1.0, 1e-4, -1e-4, 0.0]])
    image = Quantize().run(chain(Input(name="in", shape=(4,)), weight, lif(1)), CHIP)
    assert image.projections[0].mantissas[0, 1:].tolist() == [0, 0, 0]
    assert image.fidelity[0].zeroed == pytest.approx(2 / 3)


@pytest.mark.parametrize("make", MAKERS)
def test_more_bits_never_lose_precision(make: object) -> None:
    errors = []
    for bits in range(2, 9):
        _, image = quantised(make(seed=3), bits)  # type: ignore[operator]
        errors.append(max(f.relative_error for f in image.fidelity))
    assert errors[-1] < 0.02
    assert all(after < before for before, after in pairwise(errors))


@settings(max_examples=10)
@given(network=networks, bits=all_bits)
def test_no_input_makes_anything_overflow(network: Network, bits: int) -> None:
    """The quantiser promises worst-case bounds, so the hardest input must stay within them."""
    _, image = quantised(network, bits)
    numeric = CHIP.numeric
    payloads = adversarial(image)
    for name, (low, high) in peaks(image, payloads).items():
        target = image.population(name)
        if isinstance(target, Input):
            continue
        field = (
            numeric.payload_bits if isinstance(target, IntegerRelay) else numeric.activation_bits
        )
        limit = 2 ** (field.value - 1) - 1
        if isinstance(target, IntegerLif):
            limit = limit * (target.du + 1) // 4096
        assert -limit <= low
        assert high <= limit
    trace = run_integer_network(image, payloads)
    for u in trace.u.values():
        assert np.abs(u).max() < 2**23


def test_the_hardest_input_comes_close_to_the_bound() -> None:
    """The scale is as large as the worst case or the threshold allows, within a factor of two."""
    for gain in (1.0, 1000.0):
        network = dense_network()
        first_projection, *others = network.projections
        loud = replace(first_projection, weight=first_projection.weight * gain)
        image = Quantize().run(replace(network, projections=(loud, *others)), CHIP)
        first = image.population("p1")
        assert isinstance(first, IntegerLif)
        limit = (2**17 - 1) * (first.du + 1) / 4096
        peak = max(np.abs(peaks(image, adversarial(image))["p1"]))
        assert peak > 0.49 * limit or first.threshold >= 2**10
        assert (peak > 0.49 * limit) == (gain > 1)


@settings(max_examples=50)
@given(kept_current=st.integers(0, 4095), kept_voltage=st.integers(1, 4096))
def test_decays_on_the_grid_are_exact(kept_current: int, kept_voltage: int) -> None:
    target = lif(1, current_decay=kept_current / 4096, voltage_decay=kept_voltage / 4096)
    made = Quantize().run(chain(Input(name="in", shape=(1,)), np.ones((1, 1)), target), CHIP)
    out = made.population("out")
    assert isinstance(out, IntegerLif)
    assert 4095 - out.du == kept_current
    assert 4096 - out.dv == kept_voltage


@settings(max_examples=14)
@given(alpha=st.floats(0, 4095 / 4096), beta=st.floats(1 / 4096, 1))
def test_decays_off_the_grid_go_to_the_nearest(alpha: float, beta: float) -> None:
    target = lif(1, current_decay=alpha, voltage_decay=beta)
    made = Quantize().run(chain(Input(name="in", shape=(1,)), np.ones((1, 1)), target), CHIP)
    out = made.population("out")
    assert isinstance(out, IntegerLif)
    assert abs((4095 - out.du) / 4096 - alpha) <= 0.5 / 4096 + 1e-12
    assert abs((4096 - out.dv) / 4096 - beta) <= 0.5 / 4096 + 1e-12


@settings(max_examples=14)
@given(network=networks, factor=st.floats(0.05, 20))
def test_thresholds_are_rounded_at_the_recorded_scale(network: Network, factor: float) -> None:
    populations = tuple(
        replace(p, threshold=p.threshold * factor) if isinstance(p, Lif) else p
        for p in network.populations
    )
    realised, image = quantised(replace(network, populations=populations))
    for population in image.populations:
        if isinstance(population, IntegerLif):
            wanted = realised.population(population.name).threshold * population.scale  # type: ignore[union-attr]
            assert population.threshold == round(wanted)
            assert 0 < population.threshold < 2**CHIP.numeric.threshold_bits.value


@settings(max_examples=14)
@given(threshold=st.floats(0, 2), seed=st.integers(0, 99))
def test_an_integer_relay_passes_exactly_what_the_float_relay_passes(
    threshold: float, seed: int
) -> None:
    network = digits_like_network(
        rank=4, levels=(1, 4), hidden=5, shape=(9,), relay_threshold=threshold, seed=seed
    )
    _, image = quantised(network)
    relay = image.population("enc/relay")
    assert isinstance(relay, IntegerRelay)
    for unit in range(relay.size):
        block = sum(bound <= unit for bound in relay.block_bounds) - 1
        wanted = threshold * relay.block_scales[block]
        around = int(wanted) + np.arange(-2, 4)
        np.testing.assert_array_equal(around > relay.threshold[unit], around > wanted)


def test_a_relay_threshold_beyond_every_payload_keeps_the_relay_silent() -> None:
    network = digits_like_network(relay_threshold=1e6)
    _, image = quantised(network)
    payloads = random_payloads(network)
    assert not run_integer_network(image, payloads).spikes["enc/relay"].any()


@settings(max_examples=14)
@given(share=st.lists(st.floats(-1, 1), min_size=4, max_size=4), power=st.integers(-16, 2))
def test_biases_share_the_smallest_exponent_that_holds_them(share: list[float], power: int) -> None:
    bias = np.array(share) * 2.0**power
    target = lif(4, bias=bias)
    made = Quantize().run(chain(Input(name="in", shape=(2,)), np.ones((4, 2)), target), CHIP)
    out = made.population("out")
    assert isinstance(out, IntegerLif)
    wanted = bias * out.scale * 64
    unit = 2**out.bias_exponent
    np.testing.assert_array_less(np.abs(out.bias_mantissa * unit - wanted), unit / 2 + 1e-6)
    assert np.abs(out.bias_mantissa).max() <= 4095
    if out.bias_exponent:
        assert np.abs(np.rint(wanted / (unit / 2))).max() > 4095


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), make=st.sampled_from(MAKERS))
def test_integer_spikes_approach_float_spikes(seed: int, make: object) -> None:
    network = make(seed=seed)  # type: ignore[operator]
    _, image = quantised(network)
    payloads = random_payloads(network, samples=10, steps=25, seed=seed)
    wanted = run_float_network(network, payloads)[network.output]
    found = run_integer_network(image, payloads).spikes[network.output]
    assert (wanted != found).mean() < 0.12
    np.testing.assert_allclose(found.mean(), wanted.mean(), atol=0.02)


def test_inhibition_is_remembered_as_long_as_in_the_float_network() -> None:
    """Thirty inhibited steps bring v to -6.8 thresholds; a voltage that stops at -1.2 recovers
    in a third of the time, and no diagnostic says so."""
    network = chain(
        Input(name="in", shape=(2,)), np.array([[0.3, -0.3]]), lif(1, voltage_decay=0.98)
    )
    payloads = np.zeros((1, 90, 2), np.int64)
    payloads[0, :30, 1] = 1
    payloads[0, 30:, 0] = 1
    image = Quantize().run(network, CHIP)
    wanted = np.flatnonzero(run_float_network(network, payloads)["out"])
    found = np.flatnonzero(run_integer_network(image, payloads).spikes["out"])
    assert wanted[0] == 52
    assert abs(found[0] - wanted[0]) <= 1


def test_voltages_do_not_stop_at_the_end_of_their_range() -> None:
    network = digits_like_network()
    _, image = quantised(network)
    trace = run_integer_network(image, random_payloads(network, samples=20, steps=40))
    for name, v in trace.v.items():
        assert (v == -(2**23) + 1).mean() < 0.001, name


def test_mismatch_falls_with_every_two_bits() -> None:
    payloads = random_payloads(digits_like_network(), samples=30, steps=25)
    rates = []
    for bits in (4, 6, 8):
        missed = []
        for seed in range(4):
            network = digits_like_network(seed=seed)
            wanted = run_float_network(network, payloads)["hidden"]
            _, image = quantised(network, bits)
            missed.append((wanted != run_integer_network(image, payloads).spikes["hidden"]).mean())
        rates.append(np.mean(missed))
    assert rates[2] < 0.5 * rates[1] < 0.5 * rates[0]
    assert rates[2] < 0.02


def as_float(realised: Network, image: QuantizedNetwork) -> Network:
    """The float network with exactly the constants that the integers stand for."""
    populations: list[Population] = []
    for population in image.populations:
        match population:
            case Input():
                populations.append(population)
            case IntegerLif():
                bias = population.bias_mantissa * 2.0 ** (population.bias_exponent - 6)
                populations.append(
                    Lif(
                        name=population.name,
                        shape=population.shape,
                        current_decay=(4095 - population.du) / 4096,
                        voltage_decay=(4096 - population.dv) / 4096,
                        threshold=population.threshold / population.scale,
                        bias=bias / population.scale,
                    )
                )
            case IntegerRelay():
                scales = np.repeat(population.block_scales, np.diff(population.block_bounds))
                populations.append(
                    Relay(
                        name=population.name,
                        threshold=population.threshold / scales,
                        block_bounds=population.block_bounds,
                    )
                )
    weights = {p.name: np.zeros_like(p.weight) for p in realised.projections}  # type: ignore[union-attr]
    for projection in image.projections:
        spec = projection.spec
        weights[dense_of(realised, projection).name][
            spec.target_start : spec.target_stop, spec.source_start : spec.source_stop
        ] = projection.mantissas * float_per_unit(image, projection)
    projections = (replace(p, weight=weights[p.name]) for p in realised.projections)
    return replace(realised, populations=tuple(populations), projections=tuple(projections))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), make=st.sampled_from(MAKERS), bits=st.integers(4, 8))
def test_recorded_scales_turn_the_integers_back_into_the_network(
    seed: int, make: object, bits: int
) -> None:
    """Only the rounding of the states is left, so hardly a spike may differ."""
    realised, image = quantised(make(seed=seed), bits)  # type: ignore[operator]
    again = as_float(realised, image)
    payloads = random_payloads(realised, samples=10, steps=25, seed=seed)
    wanted = run_float_network(again, payloads)
    found = run_integer_network(image, payloads).spikes
    for population in image.populations:
        if isinstance(population, IntegerLif):
            assert (wanted[population.name] != found[population.name]).mean() < 0.04


def test_order_names_and_delays_survive() -> None:
    realised, image = quantised(digits_like_network())
    assert [p.name for p in image.populations] == [p.name for p in realised.populations]
    assert [p.spec.name for p in image.projections] == [
        "enc/V.0",
        "enc/V.1",
        "enc/V.2",
        "enc/U.0",
        "enc/U.1",
        "enc/U.2",
        "dec",
    ]
    assert [p.spec.part for p in image.projections] == ["V"] * 3 + ["U"] * 3 + ["full"]
    assert image.latency_steps == 3
    assert (image.name, image.dt_s, image.output) == (realised.name, realised.dt_s, "out")


def test_only_graded_sources_make_graded_projections() -> None:
    _, image = quantised(digits_like_network())
    assert {p.spec.name: p.spec.graded for p in image.projections if p.spec.part != "U"} == {
        "enc/V.0": True,
        "enc/V.1": True,
        "enc/V.2": True,
        "dec": False,
    }
    assert all(p.spec.graded for p in image.projections if p.spec.part == "U")
    _, image = quantised(relay_network())
    assert [p.spec.graded for p in image.projections] == [False, True]


def test_the_same_network_gives_the_same_integers() -> None:
    _, one = quantised(digits_like_network())
    _, two = quantised(digits_like_network())
    for a, b in zip(one.projections, two.projections, strict=True):
        assert a.spec == b.spec
        np.testing.assert_array_equal(a.mantissas, b.mantissas)


@pytest.mark.parametrize("bits", [-1, 0, 1, 9])
def test_weight_bits_that_the_chip_lacks_are_refused(bits: int) -> None:
    with refused(ConfigError, "ADL-CFG-04", where="weight_bits", message="2 to 8"):
        Quantize(weight_bits=bits).run(dense_network(), CHIP)


def test_weight_bits_default_to_what_the_chip_has() -> None:
    image = Quantize().run(dense_network(), tiny_chip(numeric={"weight_bits": 6}))
    assert {p.spec.weight_bits for p in image.projections} == {6}


@pytest.mark.parametrize(
    "target",
    [lif(3, threshold=1e-7), lif(3, threshold=1.0, current_decay=0.9999)],
    ids=["threshold", "memory"],
)
def test_a_threshold_that_rounds_to_zero_is_refused(target: Lif) -> None:
    weight = np.full((3, 4), 1e4 if target.threshold == 1.0 else 1.0)
    with refused(
        QuantizationError, "ADL-QNT-01", where="out", message="zero", remedy="current_decay"
    ):
        Quantize().run(chain(Input(name="in", shape=(4,)), weight, target), CHIP)


def test_a_threshold_that_rounds_to_zero_beside_a_huge_bias_blames_the_bias() -> None:
    network = chain(Input(name="in", shape=(4,)), np.ones((3, 4)), lif(3, bias=np.full(3, 1e9)))
    with refused(QuantizationError, "ADL-QNT-01", where="out") as caught:
        Quantize().run(network, CHIP)
    assert "bias" in str(caught.value)


@pytest.mark.parametrize("payload", [{"payload_max": 2**24}, {"payload_min": -(2**24)}])
def test_payloads_beyond_the_packet_are_refused(payload: dict[str, int]) -> None:
    network = chain(Input(name="in", shape=(4,), **payload), np.ones((3, 4)), lif(3))
    with refused(
        QuantizationError, "ADL-QNT-02", where="in", message="16777216", remedy="payload_scale"
    ):
        Quantize().run(network, CHIP)


def test_a_population_that_only_its_bias_drives_keeps_its_precision() -> None:
    """A pacemaker: v grows by 0.2 up to 1 in every step, so a spike comes in every eighth step."""
    network = dense_network((6, 5, 3))
    pacemaker = Lif(
        name="pace",
        shape=(2,),
        current_decay=0.0,
        voltage_decay=0.9,
        threshold=1.0,
        bias=np.array([0.2, 0.15]),
    )
    pulse = Dense(name="pulse", source="pace", target="out", weight=np.ones((3, 2)))
    paced = replace(
        network,
        populations=(*network.populations, pacemaker),
        projections=(*network.projections, pulse),
    )
    image = Quantize().run(paced, CHIP)
    payloads = np.zeros((1, 200, 6), np.int64)
    wanted = run_float_network(paced, payloads)["pace"].sum(axis=1)
    found = run_integer_network(image, payloads).spikes["pace"].sum(axis=1)
    assert wanted.min() > 10
    np.testing.assert_allclose(found, wanted, rtol=0.1)
    paced_out = image.population("pace")
    assert isinstance(paced_out, IntegerLif)
    assert paced_out.threshold >= 32


@pytest.mark.parametrize("threshold", [0.3, 1e6])
def test_a_population_without_input_compiles_whatever_its_threshold(threshold: float) -> None:
    network = chain(Input(name="in", shape=(4,)), np.zeros((3, 4)), lif(3, threshold=threshold))
    out = Quantize().run(network, CHIP).population("out")
    assert isinstance(out, IntegerLif)
    assert 0 < out.threshold < 2**17


def test_a_relay_without_input_is_silent() -> None:
    network = relay_network()
    v, u = network.projections
    silent = replace(
        network,
        projections=(u, Dense(name="d", source="in", target="out", weight=np.ones((3, 6)))),
    )
    image = Quantize().run(silent, CHIP)
    assert not run_integer_network(image, random_payloads(silent)).spikes["z"].any()
    assert v.target == "z"


def test_each_layer_gets_the_bits_asked_for_it() -> None:
    network = dense_network((6, 5, 4, 3))
    image = Quantize(weight_bits=6, layer_weight_bits=(("w*", 5), ("w2", 3), ("w3", 4))).run(
        network, CHIP
    )
    assert [p.spec.weight_bits for p in image.projections] == [5, 3, 4]
    for projection in image.projections:
        bound = 2 ** (projection.spec.weight_bits - 1)
        assert np.abs(projection.mantissas).max() <= bound
    coarse, fine = (
        next(f.relative_error for f in image.fidelity if f.projection == name)
        for name in ("w2", "w3")
    )
    assert coarse > fine


def test_layers_of_different_bits_share_a_target_exactly_scaled() -> None:
    """Weights of both, read back by the target's one scale, stand for the float ones."""
    network = recurrent_network()
    image = Quantize(layer_weight_bits=(("r1", 4),)).run(network, CHIP)
    scale = image.population("p1").scale  # type: ignore[union-attr]
    for name, tolerance in (("w1", 0.02), ("r1", 0.2)):
        wanted = next(p for p in network.projections if p.name == name)
        got = next(p for p in image.projections if p.spec.name == name)
        assert isinstance(wanted, Dense)
        weights = got.weights * 2.0**got.spec.exponent / scale
        error = np.linalg.norm(weights - wanted.weight) / np.linalg.norm(wanted.weight)
        assert error < tolerance


def test_control_weights_keep_their_own_bits() -> None:
    network = digits_like_network()
    assert {p.name for p in network.projections} == {"enc", "dec"}
    image = Quantize(layer_weight_bits=(("enc", 4),)).run(realise_factors(network), CHIP)
    assert {p.spec.weight_bits for p in image.projections if p.spec.layer == "enc"} == {4}
    assert {p.spec.weight_bits for p in image.projections if p.spec.layer == "dec"} == {8}


def test_weight_bits_for_a_layer_that_is_not_there_are_refused() -> None:
    with refused(ConfigError, "ADL-CFG-08", where="end", remedy="did you mean 'enc'?"):
        Quantize(layer_weight_bits=(("end", 4),)).run(realise_factors(small_network()), CHIP)
    with refused(ConfigError, "ADL-CFG-08", where="x*", remedy="choose among: w1, w2"):
        Quantize(layer_weight_bits=(("x*", 4),)).run(dense_network(), CHIP)
    with refused(ConfigError, "ADL-CFG-04", where="w1", message="9 weight bits"):
        Quantize(layer_weight_bits=(("w1", 9),)).run(dense_network(), CHIP)


def test_zeroed_is_a_share_of_the_weights_that_are_not_zero() -> None:
    weight = np.zeros((5, 6))
    weight[:, 0], weight[0, 1] = 1e-4, 1.0
    network = changed(dense_network(), "w1", weight=weight)
    image = Quantize().run(network, CHIP)
    assert next(f.zeroed for f in image.fidelity if f.projection == "w1") == pytest.approx(5 / 6)


def hardest(network: Network) -> np.ndarray:
    """Every input at its highest in every step, then at its lowest."""
    source = network.input
    ends = (source.payload_max, source.payload_min)
    return np.stack([np.full((12, *source.shape), end) for end in ends])
