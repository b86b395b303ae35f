"""Synapse memory of two published networks beside the tables that Intel's compiler printed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from support.shared import shared_data

from mapping.ir.partitioned import CompartmentGroup
from mapping.ir.quantized import QuantizedNetwork
from mapping.netx import read_net
from mapping.passes.partition import Partition
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

MNIST, OXFORD = "mnist_784-128-64-10", "oxford_200-256-200"
PRINTED = [
    # network, bits per synapse that explain it, layer, input axons, neurons and words of a core
    (MNIST, 15, "layer0", 784, 50, 9408),
    (MNIST, 15, "layer1", 128, 64, 2016),
    (MNIST, 15, "layer2", 64, 10, 192),
    (OXFORD, 20, "layer0", 200, 85, 5400),
    (OXFORD, 20, "layer1", 256, 100, 8064),
    (OXFORD, 20, "layer1", 256, 200, 16_128),
]


@cache
def network(name: str) -> QuantizedNetwork:
    return read_net(shared_data("netx", f"{name}.net"))


def derived_target(folder: Path, **figures: int) -> ChipSpec:
    """``loihi2`` with other cores, from a file as a user would write it."""
    lines = ['base = "loihi2"', 'name = "derived"', 'description = "loihi2 with other cores"']
    for figure, value in figures.items():
        lines += [f"[core.{figure}]", f"value = {value}", 'status = "inferred"', 'source = "test"']
    path = folder / "derived.toml"
    path.write_text("\n".join(lines))
    return load_target(path)


@pytest.mark.parametrize(("name", "bits", "layer", "axons", "neurons", "words"), PRINTED)
def test_a_core_takes_the_words_that_the_vendor_prints(
    tmp_path: Path, name: str, bits: int, layer: str, axons: int, neurons: int, words: int
) -> None:
    """The core that would hold all 200 outputs was printed, too, as one that does not fit."""
    room = 20_000 if words > 12_000 else 12_000
    chip = derived_target(tmp_path, synapse_bits=bits, synapse_words=room, compartment_groups=1)
    partition = Partition(partitioner="first-fit", neurons_per_core=neurons)
    partitioned = partition.run(network(name), chip)
    alone = (CompartmentGroup(population=layer, ranges=((0, neurons),)),)
    usage = partitioned.usage(chip)
    found = [u for core, u in zip(partitioned.cores, usage, strict=True) if core.groups == alone]
    assert [u.input_axons for u in found] == [axons]
    assert found[0].synapse_words == pytest.approx(words, rel=0.05)
    assert found[0].synapse_words / axons == pytest.approx(words / axons, rel=0.05)


@pytest.mark.parametrize("name", [MNIST, OXFORD])
def test_both_networks_take_no_more_cores_than_the_vendor_needs(tmp_path: Path, name: str) -> None:
    chip = derived_target(tmp_path, synapse_bits=20)
    assert len(Partition().run(network(name), chip).cores) <= 5
