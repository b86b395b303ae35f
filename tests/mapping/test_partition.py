from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.gate_options import optioned_network, optioned_networks
from support.networks import (
    dense_network,
    digits_like_network,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.errors import CapacityError, ConfigError
from mapping.ir.network import Dense, Input, Network
from mapping.ir.partitioned import HOST, CompartmentGroup, PartitionedNetwork, reassemble
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.verify import verify_partition
from mapping.passes.partition import Partition
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

LOIHI2 = load_target("loihi2")


def first_fit(neurons_per_core: int | None = None) -> Partition:
    return Partition(partitioner="first-fit", neurons_per_core=neurons_per_core)


def quantised(network: Network, bits: int = 8) -> QuantizedNetwork:
    """``network`` on the grid of loihi2."""
    return Quantize(weight_bits=bits).run(realise_factors(network), LOIHI2)


def recount(partitioned: PartitionedNetwork, chip: ChipSpec) -> list[dict[str, int]]:
    """Use of every core, compartment by compartment and synapse by synapse."""
    home = {
        (group.population, number): core
        for core, program in enumerate(partitioned.cores)
        for group in program.groups
        for number in group.members.tolist()
    }
    listeners: dict[tuple[str, int], set[int]] = defaultdict(set)
    used = [Counter[str]() for _ in partitioned.cores]
    for core, program in enumerate(partitioned.cores):
        used[core]["compartments"] = sum(g.size for g in program.groups)
        used[core]["compartment_groups"] = len(program.groups)
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            for column in range(spec.source_start, spec.source_stop):
                listeners[spec.source, column].add(core)
                per_synapse = chip.core.synapse_bits.value - 8 + spec.weight_bits
                for start in range(0, len(tile.synapses.values), chip.core.block_synapses.value):
                    block = tile.synapses.values[start : start + chip.core.block_synapses.value]
                    bits = len(block) * per_synapse + chip.core.block_header_bits.value
                    used[core]["synapse_words"] += int(np.ceil(bits / chip.core.word_bits.value))
    for gate in {spec.gate for spec in partitioned.projections if spec.gate}:
        for number in range(partitioned.population(gate).size):
            listeners[gate, number].add(HOST)
    for compartment, cores in listeners.items():
        for core in cores - {HOST}:
            used[core]["input_axons"] += 1
        if compartment in home:
            used[home[compartment]]["output_axons"] += len(cores)
    return [dict(u) for u in used]


def assert_legal(
    network: QuantizedNetwork, partitioned: PartitionedNetwork, chip: ChipSpec
) -> None:
    """Nothing lost, nothing doubled, no limit exceeded, and the books are right."""
    for core, counted in zip(partitioned.usage(chip), recount(partitioned, chip), strict=True):
        for resource in (
            "compartments",
            "compartment_groups",
            "input_axons",
            "output_axons",
            "synapse_words",
        ):
            assert getattr(core, resource) == counted.get(resource, 0), resource
            assert counted.get(resource, 0) <= getattr(chip.core, resource).value, resource
    assert len(partitioned.cores) <= chip.cores
    placed = Counter(
        (group.population, number)
        for program in partitioned.cores
        for group in program.groups
        for number in group.members.tolist()
    )
    inner = [p for p in network.populations if not isinstance(p, Input)]
    assert placed == Counter({(p.name, n): 1 for p in inner for n in range(p.size)})
    again = reassemble(partitioned)
    assert (again.name, again.dt_s, again.output) == (network.name, network.dt_s, network.output)
    assert again.populations == network.populations
    assert again.fidelity == network.fidelity
    for before, after in zip(network.projections, again.projections, strict=True):
        assert before.spec == after.spec
        assert before.mantissas.dtype == after.mantissas.dtype
        np.testing.assert_array_equal(before.mantissas, after.mantissas)


@st.composite
def float_networks(draw: st.DrawFn) -> Network:
    """Chains, loops and factor pairs of a few neurons, with and without gates."""
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["pair", "gated pair", "chain"]))
    if kind == "gated pair":
        return draw(optioned_networks())
    if kind == "pair":
        rank = draw(st.integers(1, 5))
        return digits_like_network(
            rank=rank,
            levels=tuple(sorted({draw(st.integers(1, rank)), rank})),
            hidden=draw(st.integers(1, 9)),
            classes=draw(st.integers(1, 4)),
            shape=(draw(st.integers(1, 9)),),
            payload_max=2,
            seed=seed,
        )
    sizes = tuple(draw(st.lists(st.integers(1, 8), min_size=2, max_size=5)))
    return dense_network(sizes, recurrent=draw(st.booleans()), seed=seed)


@st.composite
def chips(draw: st.DrawFn) -> ChipSpec:
    """Limits around what those networks need: some fit easily, some hardly, some not at all."""
    return tiny_chip(
        compartments=draw(st.integers(1, 10)),
        compartment_groups=draw(st.integers(1, 4)),
        input_axons=draw(st.integers(9, 20)),
        output_axons=draw(st.integers(3, 30)),
        synapse_words=draw(st.integers(14, 60)),
        synapse_bits=draw(st.integers(12, 24)),
        block_synapses=draw(st.sampled_from([1, 3, 4096])),
        word_bits=draw(st.sampled_from([16, 32, 64])),
        usable_cores=draw(st.sampled_from([6, 60])),
    )


@settings(max_examples=60)
@given(network=float_networks(), chip=chips(), bits=st.sampled_from([3, 8]), data=st.data())
def test_a_partition_is_legal_or_refused(
    network: Network, chip: ChipSpec, bits: int, data: st.DataObject
) -> None:
    image = quantised(network, bits)
    cap = data.draw(st.none() | st.integers(1, chip.core.compartments.value))
    try:
        partitioned = first_fit(neurons_per_core=cap).run(image, chip)
    except CapacityError as error:
        event(f"refused: {error.code}")
        return
    event("fits")
    assert_legal(image, partitioned, chip)
    verify_partition(image, partitioned)
    if cap is not None:
        assert all(program.compartments <= cap for program in partitioned.cores)


@settings(max_examples=25)
@given(network=float_networks(), cap=st.integers(1, 9))
def test_without_tight_limits_everything_fits(network: Network, cap: int) -> None:
    image = quantised(network)
    partitioned = first_fit(neurons_per_core=cap).run(image, LOIHI2)
    assert_legal(image, partitioned, LOIHI2)
    neurons = sum(p.size for p in image.populations if not isinstance(p, Input))
    assert len(partitioned.cores) >= -(-neurons // cap)


@pytest.mark.parametrize("cap", [1, 5, 16, 64])
def test_neurons_per_core_caps_every_core_and_fills_them(cap: int) -> None:
    image = quantised(digits_like_network())
    partitioned = first_fit(neurons_per_core=cap).run(image, LOIHI2)
    sizes = [program.compartments for program in partitioned.cores]
    assert max(sizes) == cap
    assert sum(sizes) == 16 + 64 + 10
    assert len(sizes) == -(-(16 + 64 + 10) // cap)


def test_without_a_cap_a_small_network_takes_one_core() -> None:
    partitioned = first_fit().run(quantised(digits_like_network()), LOIHI2)
    assert [str(group) for group in partitioned.cores[0].groups] == [
        "enc/relay[0:16]",
        "hidden[0:64]",
        "out[0:10]",
    ]


def test_cores_fill_in_order_of_the_data_flow() -> None:
    network = dense_network((4, 3, 3, 3))
    shuffled = replace(network, populations=(network.populations[0], *network.populations[:0:-1]))
    partitioned = first_fit(neurons_per_core=3).run(quantised(shuffled), LOIHI2)
    assert [str(program.groups[0]) for program in partitioned.cores] == [
        "p1[0:3]",
        "p2[0:3]",
        "out[0:3]",
    ]


def test_rank_blocks_are_cut_before_anything_else() -> None:
    """A core that holds relays of a high block only can go dark when the rank drops."""
    image = quantised(digits_like_network(rank=8, levels=(3, 8)))
    partitioned = first_fit(neurons_per_core=5).run(image, LOIHI2)
    relays = [
        str(group)
        for program in partitioned.cores
        for group in program.groups
        if group.population == "enc/relay"
    ]
    assert relays[0] == "enc/relay[0:5]" or relays == ["enc/relay[0:3]", "enc/relay[3:8]"]
    v_tiles = [
        (spec.name, *program.targets(spec).tolist())
        for program in partitioned.cores
        for tile in program.tiles
        if (spec := partitioned.projections[tile.projection]).part == "V"
    ]
    assert v_tiles == [("enc/V.0", 0, 1, 2), ("enc/V.1", 3, 4), ("enc/V.1", 5, 6, 7)]


@settings(max_examples=30)
@given(network=optioned_networks(), cap=st.integers(1, 40), data=st.data())
def test_what_the_host_holds_back_shares_no_core_with_anything_else(
    network: Network, cap: int, data: st.DataObject
) -> None:
    """Else the core would not be dark while the gate is off."""
    if data.draw(st.booleans(), "a second pair"):
        first = network.projections[0]
        twin = replace(first, name="twin")
        network = replace(network, projections=(first, twin, *network.projections[1:]))
    image = quantised(network)
    partitioned = first_fit(neurons_per_core=cap).run(image, LOIHI2)
    assert_legal(image, partitioned, LOIHI2)
    conditions = []
    for program in partitioned.cores:
        specs = [partitioned.projections[tile.projection] for tile in program.tiles]
        tenants = {(s.gate, s.gates_needed) for s in specs}
        if any(gate for gate, _ in tenants):
            assert len(tenants) == 1
            (start, stop), *others = {(s.target_start, s.target_stop) for s in specs}
            assert not others
            for group in program.groups:
                assert start <= group.members[0] <= group.members[-1] < stop
        conditions += tenants
    held_back = {(p.spec.gate, p.spec.gates_needed) for p in image.projections if p.spec.gate}
    assert held_back <= set(conditions)
    event(f"{len(held_back)} conditions")


def test_a_gate_pays_an_output_axon_to_report_to_the_host() -> None:
    """Two gates reach every core with level biases, and the host."""
    image = quantised(optioned_network(at="source", biased=True))
    partitioned = first_fit(neurons_per_core=2).run(image, LOIHI2)
    assert_legal(image, partitioned, LOIHI2)
    (usage,) = (
        usage
        for usage, program in zip(partitioned.usage(LOIHI2), partitioned.cores, strict=True)
        if program.groups[0].population == "enc/gate"
    )
    biased = sum(
        any(g.population == "enc/level-bias" for g in program.groups)
        for program in partitioned.cores
    )
    assert usage.output_axons == 2 * (biased + 1)


def test_a_core_pays_once_for_an_axon_that_two_projections_share() -> None:
    network = dense_network((4, 3, 2))
    twin = replace(network.projections[0], name="twin")
    both = replace(network, projections=(*network.projections, twin))
    image = quantised(both)
    partitioned = first_fit(neurons_per_core=3).run(image, LOIHI2)
    usage = partitioned.usage(LOIHI2)
    assert usage[0].input_axons == 4
    assert usage[0].synapse_words == 2 * 4 * LOIHI2.core.words_per_axon(3, 8)
    assert usage[0].output_axons == 3


def test_a_loop_within_a_core_takes_axons() -> None:
    image = quantised(recurrent_network())
    partitioned = first_fit(neurons_per_core=5).run(image, LOIHI2)
    usage = partitioned.usage(LOIHI2)
    assert [(u.input_axons, u.output_axons) for u in usage] == [(6 + 5, 2 * 5), (5, 0)]


def test_the_same_network_is_cut_in_the_same_way() -> None:
    image = quantised(recurrent_network())
    chip = tiny_chip(compartments=3)
    one, two = (first_fit().run(image, chip) for _ in range(2))
    assert [p.groups for p in one.cores] == [p.groups for p in two.cores]


@given(numbers=st.sets(st.integers(0, 30), min_size=1))
def test_a_group_keeps_its_members(numbers: set[int]) -> None:
    members = np.array(sorted(numbers), np.int32)
    group = CompartmentGroup.of("p", members)
    np.testing.assert_array_equal(group.members, members)
    assert group.size == members.size
    assert all(stop < start for (_, stop), (start, _) in pairwise(group.ranges))


def test_a_group_is_shown_by_its_ranges() -> None:
    ranges = ((0, 2), (4, 5), (7, 9), (11, 12))
    assert str(CompartmentGroup(population="p", ranges=ranges[:3])) == "p[0:2, 4:5, 7:9]"
    assert str(CompartmentGroup(population="p", ranges=ranges)) == "p[0:2, 4:5, …, 11:12]"


def test_too_much_synapse_memory_is_refused() -> None:
    with refused(
        CapacityError, "ADL-CAP-02", where="p1[0]", message="6 synapse words", remedy="weight bits"
    ):
        first_fit().run(quantised(dense_network((6, 5, 3))), tiny_chip(synapse_words=5))


def test_too_many_input_axons_are_refused() -> None:
    with refused(
        CapacityError, "ADL-CAP-03", where="p1[0]", message="6 input axons", remedy="fan-in"
    ):
        first_fit().run(quantised(dense_network((6, 5, 3))), tiny_chip(input_axons=5))


def test_the_first_layer_that_does_not_fit_is_named() -> None:
    with refused(CapacityError, "ADL-CAP-03", where="out[0]", message="9 input axons"):
        first_fit().run(quantised(dense_network((6, 9, 3))), tiny_chip(input_axons=8))


def test_a_sender_may_fill_its_output_axons_but_no_more() -> None:
    """Four neurons of p1 reach two cores of out each: eight output axons on the core of p1."""
    image = quantised(dense_network((4, 4, 8)))
    partitioned = first_fit().run(image, tiny_chip(compartments=4, output_axons=8))
    assert [u.output_axons for u in partitioned.usage(LOIHI2)] == [8, 0, 0]
    with refused(CapacityError, "ADL-CAP-04", message="output axons"):
        first_fit().run(image, tiny_chip(compartments=4, output_axons=7))


def test_what_answers_an_earlier_core_is_split_by_its_own_output_axons() -> None:
    """One neuron a excites five neurons z, which all answer it: so z, placed last, is split."""
    shapes = {"in": ("in", "a", (1, 2)), "az": ("a", "z", (5, 1)), "za": ("z", "a", (1, 5))}
    two = dense_network((2, 1, 5))
    _, first, second = two.populations
    network = replace(
        two,
        output="z",
        populations=(two.input, replace(first, name="a"), replace(second, name="z")),
        projections=tuple(
            Dense(name=f"w-{name}", source=source, target=target, weight=np.ones(shape))
            for name, (source, target, shape) in shapes.items()
        ),
    )
    chip = tiny_chip(compartment_groups=1, output_axons=4)
    image = quantised(network)
    partitioned = first_fit().run(image, chip)
    assert_legal(image, partitioned, chip)
    groups = [str(group) for program in partitioned.cores for group in program.groups]
    assert groups == ["a[0:1]", "z[0:4]", "z[4:5]"]


def test_too_many_output_axons_name_the_layer_that_sends() -> None:
    """Four neurons of p1 reach two cores of out each: eight output axons on the core of p1."""
    chip = tiny_chip(compartments=4, output_axons=4)
    with refused(CapacityError, "ADL-CAP-04", message="output axons") as caught:
        first_fit().run(quantised(dense_network((4, 4, 8))), chip)
    assert "p1" in str(caught.value)
    assert "one compartment alone" not in str(caught.value)
    assert "lower neurons_per_core" in caught.value.remedy


def test_too_many_cores_name_the_biggest_layers() -> None:
    chip = tiny_chip(compartments=2, usable_cores=5)
    with refused(
        CapacityError,
        "ADL-CAP-06",
        where="digits-like",
        message="needs 8 cores, tiny has 5; most go to hidden (4), enc/relay (2), out (2)",
        remedy="rank",
    ):
        first_fit().run(quantised(small_network()), chip)


@pytest.mark.parametrize("cap", [-1, 0, 5])
def test_a_cap_beyond_the_chip_is_refused(cap: int) -> None:
    with refused(ConfigError, "ADL-CFG-05", where="neurons_per_core", message="1 to 4"):
        first_fit(neurons_per_core=cap).run(quantised(relay_network()), tiny_chip(compartments=4))


def test_an_unknown_partitioner_suggests_the_nearest() -> None:
    with refused(ConfigError, "ADL-CFG-01", where="partitioner", remedy="'first-fit'"):
        Partition(partitioner="first_fit").run(quantised(relay_network()), LOIHI2)


def test_a_layer_over_many_cores_is_cut_evenly() -> None:
    image = quantised(dense_network((40, 512, 10)))
    partitioned = first_fit(neurons_per_core=8).run(image, LOIHI2)
    assert [program.compartments for program in partitioned.cores] == [8] * 65 + [2]
