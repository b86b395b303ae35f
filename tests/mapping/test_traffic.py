from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.gate_options import input_for, optioned_network, optioned_networks
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    small_network,
)

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from mapping.ir.network import Input, Network
from mapping.ir.partitioned import HOST, PartitionedNetwork
from mapping.ir.placed import Placement
from mapping.ir.ranges import LONGEST_SAMPLE
from mapping.ir.routed import Routing
from mapping.ir.traffic import ASSUMED_ACTIVITY, Calibration, TrafficProfile, check_payloads
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.spec import ChipSpec
from simulators.backend import simulate
from simulators.trace import Stimulus

CASES = [
    (small_network(), 3),
    (recurrent_network(), 2),
    (digits_like_network(rank=8, levels=(3, 8), hidden=20, shape=(5, 4)), 7),
]


def compiled(network: Network, per_core: int, host: tuple[int, int] = (1, 1)) -> Artifact:
    """``network`` spread over three small chips."""
    chip = tiny_chip(
        width=3, height=2, cores_per_tile=2, usable_cores=4, chips=(2, 2), host_tile=host
    )
    return compile_network(network, chip, CompileOptions(neurons_per_core=per_core)).artifact


def parts(artifact: Artifact) -> tuple[PartitionedNetwork, Placement, Routing, ChipSpec]:
    """What a traffic profile needs to know of a program."""
    return artifact.partitioned, artifact.placement, artifact.routing, artifact.chip


def count_by_hand(artifact: Artifact, sent: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean actions per step and core, spike by spike, in loops."""
    partitioned, slots = artifact.partitioned, artifact.placement.slots
    home, listeners = {}, defaultdict(set)
    synapses, words = defaultdict(int), defaultdict(int)
    for core, program in enumerate(partitioned.cores):
        for group in program.groups:
            for number in group.members.tolist():
                home[group.population, number] = core
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            for number in range(spec.source_start, spec.source_stop):
                listeners[spec.source, number].add(core)
                synapses[spec.source, number, core] += len(tile.synapses.values)
                words[spec.source, number, core] += artifact.chip.core.words_per_axon(
                    len(tile.synapses.values), spec.weight_bits
                )
    names = (
        "synaptic_op synapse_read compartment_access spike axon_out axon_in within_tile "
        "hop_east_west hop_north_south hop_chip host_packet"
    )
    counts = {name: np.zeros(len(partitioned.cores)) for name in names.split()}
    for core, program in enumerate(partitioned.cores):
        counts["compartment_access"][core] = program.compartments
    for population, spikes in sent.items():
        samples, steps, _ = spikes.shape
        for _, _, number in np.argwhere(spikes != 0):
            source = home.get((population, int(number)), HOST)
            share = 1 / (samples * steps)
            if source != HOST:
                counts["spike"][source] += share
            for core in listeners[population, int(number)]:
                mesh = artifact.chip.mesh
                from_x, from_y = mesh.host_tile if source == HOST else slots[source].tile(mesh)
                to_x, to_y = slots[core].tile(mesh)
                between_x = abs(to_x // 3 - from_x // 3)
                between_y = abs(to_y // 2 - from_y // 2)
                east_west = abs(to_x - from_x) - between_x
                north_south = abs(to_y - from_y) - between_y
                counts["axon_in"][core] += share
                counts["synaptic_op"][core] += share * synapses[population, int(number), core]
                counts["synapse_read"][core] += share * words[population, int(number), core]
                counts["hop_east_west"][core] += share * east_west
                counts["hop_north_south"][core] += share * north_south
                counts["hop_chip"][core] += share * (between_x + between_y)
                if source == HOST:
                    counts["host_packet"][core] += share
                else:
                    counts["axon_out"][source] += share
                    if (from_x, from_y) == (to_x, to_y):
                        counts["within_tile"][core] += share
    return counts


@pytest.mark.parametrize(("network", "per_core"), CASES)
@pytest.mark.parametrize("host", [(0, 0), (2, 1)])
def test_expected_counts_at_measured_rates_are_the_mean_of_what_happened(
    network: Network, per_core: int, host: tuple[int, int]
) -> None:
    artifact = compiled(network, per_core, host)
    image = artifact.network
    payloads = random_payloads(network, samples=3, steps=9)
    payloads[:, :, ..., 0] = 0
    silence = np.zeros((3, image.latency_steps, *network.input.shape), np.int64)
    everything = np.concatenate([payloads, silence], axis=1)
    ran = run_integer_network(image, everything)
    sent = ran.spikes
    sent[network.input.name] = everything.reshape(*everything.shape[:2], -1)
    by_hand = count_by_hand(artifact, sent)

    profile = TrafficProfile.measured(image, Calibration(payloads=payloads))
    expected = profile.expected_counts(*parts(artifact))
    for name, values in by_hand.items():
        np.testing.assert_allclose(
            getattr(expected, name), values[None, None], rtol=1e-9, atol=1e-12, err_msg=name
        )
    updates = [
        sum(ran.updated[g.population][..., g.members].mean((0, 1)).sum() for g in c.groups)
        for c in artifact.partitioned.cores
    ]
    np.testing.assert_allclose(expected.compartment_update[0, 0], updates)
    assert (expected.compartment_update < expected.compartment_access).any()
    assert by_hand["spike"].sum() > 0
    packets = profile.flow_packets(artifact.partitioned, artifact.routing.pairs())
    assert packets.sum() == pytest.approx(by_hand["axon_in"].sum())


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0, 5))
def test_expected_counts_are_linear_in_the_rates(seed: int, factor: float) -> None:
    network, per_core = CASES[0]
    artifact = compiled(network, per_core)
    rng = np.random.default_rng(seed)
    rates = {p.name: rng.uniform(0, 1, p.size) for p in artifact.network.populations}
    fixed = ("compartment_access", "compartment_update")

    def counts(scale: float) -> dict[str, np.ndarray]:
        profile = TrafficProfile(
            rates={name: scale * r for name, r in rates.items()},
            updates=rates,
            held_back={},
            steps=1,
            status="measured",
        )
        expected = profile.expected_counts(*parts(artifact))
        return {k: v for k, v in expected.items() if k not in fixed}

    once, scaled = counts(1.0), counts(factor)
    for name in once:
        np.testing.assert_allclose(scaled[name], factor * once[name], atol=1e-12)


@settings(max_examples=12)
@given(
    network=optioned_networks(),
    price=st.sampled_from([0.0, 1.0, 1e9]),
    per_core=st.integers(3, 8),
    seed=st.integers(0, 99),
)
def test_expected_counts_of_a_gated_network_are_the_mean_of_what_the_chip_counts(
    network: Network, price: float, per_core: int, seed: int
) -> None:
    """Packets that the host holds back included, at the price that the profile is for."""
    artifact = compiled(network, per_core)
    payloads = input_for(network, samples=5, seed=seed)
    profile = TrafficProfile.measured(artifact.network, Calibration(payloads=payloads), price=price)
    expected = profile.expected_counts(*parts(artifact))
    trace = simulate(artifact, Stimulus(payloads=payloads), price=price)
    assert trace.counts is not None
    for name, values in trace.counts.items():
        np.testing.assert_allclose(
            getattr(expected, name)[0, 0], values.mean(axis=(0, 1)), atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("price", [0.0, 1.0, 1e9])
def test_what_the_host_holds_back_is_what_does_not_reach_the_cores(
    price: float, changes: bool
) -> None:
    network = optioned_network(changes=changes)
    artifact = compiled(network, 6)
    payloads = input_for(network, samples=20)
    image = artifact.network
    profile = TrafficProfile.measured(image, Calibration(payloads=payloads), price=price)
    assert set(profile.held_back) == {("enc/gate", 1), ("enc/gate", 2)}
    counts = simulate(artifact, Stimulus(payloads=payloads), price=price).counts
    assert counts is not None
    arriving = counts.host_packet.mean(axis=(0, 1))
    for core, program in enumerate(artifact.partitioned.cores):
        specs = {artifact.partitioned.projections[tile.projection] for tile in program.tiles}
        if any(spec.gate for spec in specs):
            (spec,) = specs
            sent = profile.held_back[spec.gate, spec.gates_needed].sum()
            assert arriving[core] == pytest.approx(sent)
            assert (sent > 0) == (price < 1e9)
    sent = {needed: profile.held_back["enc/gate", needed].sum() for needed in (1, 2)}
    if price == 1e9:
        assert sent == {1: 0.0, 2: 0.0}
    elif not changes:
        assert sent[2] <= sent[1] < profile.rates["in"].sum()


def test_nothing_known_means_ten_percent_and_busy_relays() -> None:
    artifact = compiled(*CASES[0])
    profile = TrafficProfile.assumed(artifact.network)
    assert profile.status == "assumed"
    assert set(profile.rates) == {"in", "enc/relay", "hidden", "out"}
    for name, rates in profile.rates.items():
        expected = 1.0 if name == "enc/relay" else ASSUMED_ACTIVITY
        np.testing.assert_array_equal(rates, np.full(rates.shape, expected))


def test_measured_rates_count_payloads_as_one_spike_and_average_over_the_silence() -> None:
    network = dense_network((2, 2))
    payloads = np.zeros((1, 3, 2), np.int64)
    payloads[0, :, 0] = 1
    profile = TrafficProfile.measured(compiled(network, 2).network, Calibration(payloads=payloads))
    assert profile.status == "measured"
    np.testing.assert_allclose(profile.rates["in"], [3 / 4, 0.0])


def test_the_same_calibration_gives_the_same_rates() -> None:
    image = compiled(*CASES[0]).network
    data = Calibration(payloads=random_payloads(CASES[0][0]))
    one, two = (TrafficProfile.measured(image, data) for _ in range(2))
    for name, rates in one.rates.items():
        np.testing.assert_array_equal(rates, two.rates[name])


SOURCE = Input(name="in", shape=(2, 3), payload_min=-1, payload_max=4)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool])
def test_any_integer_type_is_taken(dtype: type) -> None:
    checked = check_payloads(np.ones((2, 5, 2, 3), dtype), SOURCE, where="x.npz")
    assert checked.dtype == dtype
    assert checked.sum() == 60


@pytest.mark.parametrize(
    "shape", [(2, 3), (5, 2, 3), (1, 5, 6), (1, 5, 3, 2), (0, 5, 2, 3), (1, 0, 2, 3)]
)
def test_payloads_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with refused(
        ConfigError, "ADL-INP-01", where="x.npz", message="(samples, steps, 2, 3)", remedy="resh"
    ):
        check_payloads(np.zeros(shape, int), SOURCE, where="x.npz")


@pytest.mark.parametrize("dtype", [float, complex, "U1", np.datetime64])
def test_payloads_that_are_no_integers_are_refused(dtype: object) -> None:
    with refused(ConfigError, "ADL-INP-02", where="x.npz", remedy="integer payloads"):
        check_payloads(np.zeros((1, 5, 2, 3)).astype(dtype), SOURCE, where="x.npz")  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [-2, 5, 2**40, -(2**63)])
def test_payloads_out_of_range_are_refused(value: int) -> None:
    payloads = np.zeros((1, 5, 2, 3), np.int64)
    payloads[0, 3, 1, 2] = value
    with refused(ConfigError, "ADL-INP-03", where="x.npz", message="-1..4", remedy="scale") as e:
        check_payloads(payloads, SOURCE, where="x.npz")
    assert str(value) in e.value.message
    assert "NIR files of other tools take 0 and 1" in e.value.remedy


def test_payloads_beyond_int64_are_refused_with_their_own_value() -> None:
    payloads = np.full((1, 5, 2, 3), 2**64 - 1, np.uint64)
    with refused(ConfigError, "ADL-INP-03", where="x.npz", message=str(2**64 - 1)):
        check_payloads(payloads, SOURCE, where="x.npz")


def _changes(*values: int) -> np.ndarray:
    return np.array(values, np.int64).reshape(1, -1, 1)


CODED = Input(name="in", shape=(1,), payload_min=-1, payload_max=4, delta=True)


@pytest.mark.parametrize("values", [(4, -5, 5), (-1, 5, -4), (1, 1, 1, 1, -5)])
def test_changes_may_exceed_the_range_of_the_signal_that_they_code(values: tuple[int, ...]) -> None:
    checked = check_payloads(_changes(*values), CODED, where="x.npz")
    assert checked.ravel().tolist() == list(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1, 1, 1, 1, 1), "add up to 1..5"),
        ((4, -3, -3), "add up to -2..4"),
        ((6, -6), "span -6..6"),
        ((-(2**63), 1), "span"),
    ],
)
def test_changes_that_add_up_beyond_the_range_are_refused(
    values: tuple[int, ...], message: str
) -> None:
    """Bounds on what sums and currents can hold rest on the range of the signal."""
    with refused(
        ConfigError, "ADL-INP-03", where="x.npz", message=message, remedy="scale the input"
    ):
        check_payloads(_changes(*values), CODED, where="x.npz")


def test_changes_over_more_steps_than_sums_are_bounded_for_are_refused() -> None:
    longest = np.zeros((1, LONGEST_SAMPLE, 1), np.int64)
    check_payloads(longest, CODED, where="x.npz")
    longer = np.zeros((1, LONGEST_SAMPLE + 1, 1), np.int64)
    with refused(ConfigError, "ADL-INP-03", where="x.npz", message="4097", remedy="shorter"):
        check_payloads(longer, CODED, where="x.npz")
    check_payloads(longer, replace(CODED, delta=False), where="x.npz")


@pytest.mark.parametrize(
    ("payloads", "code"),
    [
        (np.zeros((2, 5, 13), int), "ADL-INP-01"),
        (np.zeros((2, 5, 12)), "ADL-INP-02"),
        (np.full((2, 5, 12), 99), "ADL-INP-03"),
    ],
    ids=["shape", "type", "range"],
)
def test_unsuitable_calibration_is_refused_by_the_compiler(payloads: np.ndarray, code: str) -> None:
    """From Python as from the command line; numbers from it would be silently wrong."""
    with refused(ConfigError, code):
        compile_network(
            small_network(),
            tiny_chip(),
            CompileOptions(),
            calibration=Calibration(payloads=payloads),
        )
