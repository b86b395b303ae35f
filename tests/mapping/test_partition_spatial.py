"""Convolutions, pools and sparse projections cut into tiny cores."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.full import full
from support.integer_networks import compiled
from support.net_files import conv, cuba, dense, pool, write_net
from support.networks import changed, random_payloads
from support.spatial import CONV, spatial_network

from mapping.artifact.read import load_artifact
from mapping.artifact.write import write_artifact
from mapping.errors import AdlrnsError, CapacityError
from mapping.ir.network import Network
from mapping.ir.partitioned import PartitionedNetwork, SynapseTile, reassemble
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.synapses import ConvSynapses, Synapses
from mapping.ir.traffic import TrafficProfile
from mapping.ir.verify import partition_faults, verify_partition
from mapping.netx import read_net
from mapping.passes.partition import Partition
from mapping.passes.quantize import Quantize
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

LOIHI2 = load_target("loihi2")


def first_fit(neurons_per_core: int | None = None) -> Partition:
    return Partition(partitioner="first-fit", neurons_per_core=neurons_per_core)


def quantised(network: Network) -> QuantizedNetwork:
    return Quantize().run(network, LOIHI2)


def present(synapses: Synapses) -> np.ndarray:
    """``(rows, columns)`` where there are synapses, zero weights included."""
    return full(synapses.with_values(np.ones(synapses.values.shape))) != 0


def synapse_lists(tile: SynapseTile) -> list[int]:
    """Lengths of the lists that one tile keeps in memory, one by one."""
    synapses = tile.synapses
    if not isinstance(synapses, ConvSynapses):
        return [int(n) for n in present(synapses).sum(axis=0) if n]
    geometry = synapses.conv
    channels = {row // geometry.plane for row in synapses.outputs.tolist()}
    of_group = Counter(c * geometry.groups // geometry.out_channels for c in channels)
    copies = geometry.inputs[0] // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    return [length for length in of_group.values() for _ in range(copies)]


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
            for column in np.flatnonzero(present(tile.synapses).any(axis=0)).tolist():
                listeners[spec.source, spec.source_start + column].add(core)
            for length in synapse_lists(tile):
                used[core]["synapse_words"] += chip.core.words_per_axon(
                    length,
                    spec.weight_bits,
                    targets=0 if spec.form == "dense" else tile.synapses.shape[0],
                    delay=spec.longest_delay,
                )
    for compartment, cores in listeners.items():
        for core in cores:
            used[core]["input_axons"] += 1
        if compartment in home:
            used[home[compartment]]["output_axons"] += len(cores)
    return [dict(u) for u in used]


def assert_books_are_right(
    network: QuantizedNetwork, partitioned: PartitionedNetwork, chip: ChipSpec
) -> None:
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
    verify_partition(network, partitioned)
    for before, after in zip(network.projections, reassemble(partitioned).projections, strict=True):
        assert before.spec == after.spec
        np.testing.assert_array_equal(full(before.synapses), full(after.synapses))
        np.testing.assert_array_equal(present(before.synapses), present(after.synapses))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    neurons_per_core=st.integers(2, 30),
    synapse_words=st.sampled_from([12, 20, 40, 12_000]),
    input_axons=st.sampled_from([20, 40, 16_000]),
    output_axons=st.sampled_from([20, 60, 16_000]),
    groups=st.sampled_from([1, 3, 8]),
)
def test_any_cut_keeps_every_synapse_and_the_books(
    seed: int, neurons_per_core: int, groups: int, **limits: int
) -> None:
    network = quantised(spatial_network(seed=seed))
    chip = tiny_chip(compartments=30, compartment_groups=groups, **limits)
    partition = first_fit(neurons_per_core=neurons_per_core)
    try:
        partitioned = partition.run(network, chip)
    except CapacityError:
        assume(False)
    assert_books_are_right(network, partitioned, chip)


@pytest.mark.parametrize("neurons_per_core", [7, 40, 1024])
def test_indices_and_delays_are_stored_with_the_synapses_of_loihi1(neurons_per_core: int) -> None:
    chip = load_target("loihi1")
    network = Quantize().run(spatial_network(), chip)
    partitioned = Partition(neurons_per_core=neurons_per_core).run(network, chip)
    assert_books_are_right(network, partitioned, chip)
    dense_alone = replace(chip.core, index_widths=LOIHI2.core.index_widths)
    without = partitioned.usage(replace(chip, core=dense_alone))
    words = [sum(u.synapse_words for u in usage) for usage in (partitioned.usage(chip), without)]
    assert words[0] > words[1]


@pytest.mark.parametrize("neurons_per_core", [1, 5, 11, 12, 13, 48])
def test_a_convolution_is_cut_anywhere(neurons_per_core: int) -> None:
    """Within rows, between channels, across groups."""
    network = quantised(spatial_network())
    partitioned = first_fit(neurons_per_core=neurons_per_core).run(network, LOIHI2)
    assert_books_are_right(network, partitioned, LOIHI2)
    tiles = [t for core in partitioned.cores for t in core.tiles if t.projection == 0]
    assert len(tiles) == -(-CONV.size // neurons_per_core)


def test_a_core_listens_only_to_what_its_part_of_the_image_needs() -> None:
    network = quantised(spatial_network())
    partitioned = first_fit(neurons_per_core=4).run(network, LOIHI2)
    (tile,) = partitioned.cores[0].tiles
    weights = full(network.projections[0].synapses)[:4]
    columns = set(tile.sources(partitioned.projections[0]).tolist())
    np.testing.assert_array_equal(
        sorted(columns), np.flatnonzero(present(tile.synapses).any(axis=0))
    )
    assert set(np.flatnonzero(weights.any(axis=0))) <= columns
    assert len(columns) < 30


def test_a_kernel_too_large_for_any_core_is_named() -> None:
    network = quantised(spatial_network())
    chip = tiny_chip(synapse_words=5)
    with refused(CapacityError, "ADL-CAP-02", where="features[0]", message="6 synapse words"):
        first_fit().run(network, chip)


def test_lost_synapses_of_any_form_are_seen() -> None:
    network = quantised(spatial_network())
    partitioned = first_fit(neurons_per_core=16).run(network, LOIHI2)
    assert not list(partition_faults(partitioned))
    for number, spec in enumerate(partitioned.projections):
        cores = tuple(
            replace(core, tiles=tuple(t for t in core.tiles if t.projection != number))
            for core in partitioned.cores
        )
        faults = list(partition_faults(replace(partitioned, cores=cores)))
        assert faults == [f"synapses of {spec.name} are lost or doubled"]


def test_a_program_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    floats = spatial_network(payload_max=3)
    result = compile_network(floats, LOIHI2, CompileOptions(neurons_per_core=7))
    write_artifact(result.artifact, result.report, tmp_path / "out")
    before, after = result.artifact, load_artifact(tmp_path / "out")
    assert after.partitioned.projections == before.partitioned.projections
    payloads = random_payloads(floats, samples=2, steps=20)
    one, other = (run_integer_network(a.network, payloads) for a in (before, after))
    for group in ("spikes", "u", "v"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(getattr(other, group)[name], values)
    for mine, theirs in zip(before.network.projections, after.network.projections, strict=True):
        assert theirs.synapses.values.dtype == np.int8
        np.testing.assert_array_equal(present(mine.synapses), present(theirs.synapses))
        np.testing.assert_array_equal(mine.mantissas, theirs.mantissas)


def test_the_cut_does_not_change_what_is_computed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = [
        {"type": "input", "shape": [2, 6, 4]},
        conv((2, 6, 4), rng.integers(-30, 40, (4, 1, 3, 3)) * 2, padding=(1, 1), groups=2),
        pool((4, 6, 4), (2, 2), 60, delay=rng.integers(0, 5, 24)),
        {"type": "flatten"},
        dense(rng.integers(-30, 40, (5, 24)) * 2, neuron=cuba(vThMant=100)),
    ]
    network = read_net(write_net(tmp_path / "x.net", layers))
    payloads = rng.integers(0, 2, (2, 30, 2, 6, 4))
    whole = run_integer_network(network, payloads)
    assert whole.spikes["layer4"].any()
    for neurons_per_core in (2, 6, 100):
        artifact = compiled(network, LOIHI2, first_fit(neurons_per_core=neurons_per_core))
        assert_books_are_right(network, artifact.partitioned, LOIHI2)
        again = run_integer_network(artifact.network, payloads)
        for name, spikes in whole.spikes.items():
            np.testing.assert_array_equal(again.spikes[name], spikes)


def test_expected_synaptic_operations_follow_the_synapses() -> None:
    """With every compartment as active as the next, operations count synapses."""
    network = quantised(changed(spatial_network(), "in", payload_max=1))
    artifact = compiled(network, LOIHI2, first_fit(neurons_per_core=10))
    traffic = TrafficProfile.assumed(network)
    counts = traffic.expected_counts(
        artifact.partitioned, artifact.placement, artifact.routing, artifact.chip
    )
    synapses = sum(present(p.synapses).sum() for p in network.projections)
    assert counts.synaptic_op.sum() == pytest.approx(0.1 * synapses)


def test_errors_of_the_partition_exit_with_code_3() -> None:
    with pytest.raises(AdlrnsError) as caught:
        first_fit().run(quantised(spatial_network()), tiny_chip(input_axons=3))
    assert caught.value.exit_code == 3
    assert caught.value.code == "ADL-CAP-03"
