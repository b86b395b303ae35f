"""Whoever registers a partitioner or a placer is held to the same promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.networks import dense_network, digits_like_network, small_network

from mapping.errors import CapacityError
from mapping.ir.network import Input, Network
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.verify import verify_partition, verify_placement, verify_routing
from mapping.partitioners import PARTITIONERS
from mapping.passes.partition import Partition
from mapping.passes.place import PLACERS, Place
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.passes.route import Route
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import check_rules
from mapping.targets.spec import ChipSpec

MESHES = {
    "square": tiny_chip(width=4, height=4, cores_per_tile=2, host_tile=(1, 2)),
    "line": tiny_chip(width=32, height=1, cores_per_tile=1),
    "tile": tiny_chip(width=1, height=1, cores_per_tile=32),
    "exact": tiny_chip(width=3, height=3, cores_per_tile=1),
    "chips": tiny_chip(width=2, height=1, cores_per_tile=2, usable_cores=3, chips=(2, 2)),
}


def quantised(network: Network, chip: ChipSpec) -> QuantizedNetwork:
    """``network`` on the grid of ``chip``."""
    return Quantize().run(realise_factors(network), chip)


def same(a: PartitionedNetwork, b: PartitionedNetwork) -> bool:
    """Whether both hold the same core programs, synapse by synapse."""
    return len(a.cores) == len(b.cores) and all(
        one.groups == other.groups
        and len(one.tiles) == len(other.tiles)
        and all(
            s.projection == t.projection and np.array_equal(s.synapses.values, t.synapses.values)
            for s, t in zip(one.tiles, other.tiles, strict=True)
        )
        for one, other in zip(a.cores, b.cores, strict=True)
    )


@pytest.mark.parametrize("name", PARTITIONERS.names())
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    recurrent=st.booleans(),
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=4),
    compartments=st.integers(1, 6),
    groups=st.integers(1, 3),
    words=st.integers(8, 40),
    axons=st.integers(16, 40),
)
def test_a_partitioner_keeps_all_limits(
    name: str,
    seed: int,
    recurrent: bool,
    sizes: list[int],
    compartments: int,
    groups: int,
    words: int,
    axons: int,
) -> None:
    chip = tiny_chip(
        compartments=compartments,
        compartment_groups=groups,
        synapse_words=words,
        input_axons=axons,
        output_axons=axons,
    )
    network = quantised(dense_network(tuple(sizes), recurrent=recurrent, seed=seed), chip)
    try:
        partitioned = Partition(partitioner=name).run(network, chip)
    except CapacityError:
        return
    verify_partition(network, partitioned)
    for usage in partitioned.usage(chip):
        assert usage.compartments <= compartments
        assert usage.compartment_groups <= groups
        assert usage.synapse_words <= words
        assert max(usage.input_axons, usage.output_axons) <= axons
    placed = Counter(
        (group.population, number)
        for core in partitioned.cores
        for group in core.groups
        for number in group.members.tolist()
    )
    inner = [p for p in network.populations if not isinstance(p, Input)]
    assert placed == Counter({(p.name, n): 1 for p in inner for n in range(p.size)})


@pytest.mark.parametrize("name", PARTITIONERS.names())
@pytest.mark.parametrize("cap", [1, 3, 8])
def test_a_partitioner_keeps_neurons_per_core(name: str, cap: int) -> None:
    chip = tiny_chip()
    network = quantised(small_network(), chip)
    partitioned = Partition(partitioner=name, neurons_per_core=cap).run(network, chip)
    assert all(1 <= core.compartments <= cap for core in partitioned.cores)


@pytest.mark.parametrize("name", PARTITIONERS.names())
def test_a_partitioner_repeats_itself(name: str) -> None:
    chip = tiny_chip(compartments=7)
    network = quantised(digits_like_network(), chip)
    one, two = (Partition(partitioner=name).run(network, chip) for _ in range(2))
    assert same(one, two)


def cut(chip: ChipSpec, cores: int) -> PartitionedNetwork:
    """A network in ``cores`` core programs."""
    network = quantised(dense_network((5, cores // 2, cores - cores // 2)), chip)
    return Partition(neurons_per_core=1).run(network, chip)


@pytest.mark.parametrize("name", PLACERS.names())
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_a_placer_gives_every_program_a_core_of_its_own(name: str, mesh: str, seed: int) -> None:
    chip = MESHES[mesh]
    partitioned = cut(chip, 9)
    placement = Place(placer=name, seed=seed).run(partitioned, chip)
    verify_placement(partitioned, placement)
    for slot in placement.slots:
        assert slot.on_mesh(chip.mesh)
        assert 0 <= slot.core < chip.mesh.cores_per_tile
    per_chip = Counter(slot.chip for slot in placement.slots)
    assert max(per_chip.values()) <= chip.mesh.usable_cores.value
    verify_routing(placement, Route().run(partitioned, placement, chip), chip.mesh)


@pytest.mark.parametrize("name", PLACERS.names())
@pytest.mark.parametrize("seed", [0, 7])
def test_a_placer_repeats_itself_under_its_seed(name: str, seed: int) -> None:
    chip = MESHES["square"]
    partitioned = cut(chip, 12)
    np.random.seed(1)  # noqa: NPY002 - the placer must not use the global state
    one = Place(placer=name, seed=seed).run(partitioned, chip)
    np.random.seed(2)  # noqa: NPY002
    two = Place(placer=name, seed=seed).run(partitioned, chip)
    assert one == two


@pytest.mark.parametrize("partitioner", PARTITIONERS.names())
@pytest.mark.parametrize("placer", PLACERS.names())
def test_every_pair_compiles_a_program_that_keeps_all_rules(partitioner: str, placer: str) -> None:
    options = CompileOptions(partitioner=partitioner, placer=placer, neurons_per_core=16)
    artifact = compile_network(digits_like_network(), tiny_chip(), options).artifact
    assert check_rules(artifact) == ()
