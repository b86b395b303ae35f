"""A layer split by fan-in computes the same, one step later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.gate_options import optioned_network
from support.networks import dense_network, random_payloads

from mapping.errors import CapacityError
from mapping.ir.network import Dense, Input, Lif, LowRank, Network
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import TrafficProfile
from mapping.partitioners import Goal
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.passes.split_fan_in import WORTHWHILE, SplitFanIn
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import check_rules
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from simulators import Stimulus, simulate
from simulators.verify import verify

LOIHI2 = load_target("loihi2")


def quantised(network: Network) -> QuantizedNetwork:
    return Quantize().run(realise_factors(network), LOIHI2)


def split(
    network: QuantizedNetwork, chip: ChipSpec, goal: Goal = "latency", cap: int = 4096
) -> QuantizedNetwork:
    traffic = TrafficProfile.assumed(network)
    return SplitFanIn(goal=goal, neurons_per_core=cap).run(network, chip, traffic)[0]


def shift(before: QuantizedNetwork, after: QuantizedNetwork, name: str) -> int:
    """How many steps later a population acts."""
    return replace(after, output=name).latency_steps - replace(before, output=name).latency_steps


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(2, 9), min_size=3, max_size=4),
    axons=st.integers(2, 8),
    exponents=st.lists(st.integers(-3, 2), min_size=4, max_size=4),
    skip=st.booleans(),
    payload_max=st.sampled_from([1, 5]),
)
def test_a_split_network_does_the_same_later(
    seed: int,
    sizes: list[int],
    axons: int,
    exponents: list[int],
    skip: bool,
    payload_max: int,
) -> None:
    floats = dense_network(tuple(sizes), seed=seed)
    source, *others = floats.populations
    floats = replace(floats, populations=(replace(source, payload_max=payload_max), *others))
    if skip:
        weight = np.random.default_rng(seed).normal(0, 0.5, (sizes[-1], sizes[0]))
        aside = Dense(name="aside", source="in", target="out", weight=weight)
        floats = replace(floats, projections=(*floats.projections, aside))
    network = quantised(floats)
    shifted = (
        replace(p, spec=replace(p.spec, exponent=exponent))
        for p, exponent in zip(network.projections, exponents, strict=False)
    )
    network = replace(network, projections=tuple(shifted))
    after = split(network, tiny_chip(input_axons=axons))
    late = shift(network, after, "out")
    wide = [size > axons for size in sizes[:-1]]
    assert late >= sum(wide)
    event(f"{late} steps later")
    payloads = random_payloads(floats, samples=2, steps=9)
    whole = np.pad(payloads, ((0, 0), (0, late), (0, 0)))
    one, other = run_integer_network(network, payloads), run_integer_network(after, whole)
    for name in one.spikes:
        first = shift(network, after, name)
        own = slice(first, first + payloads.shape[1])
        np.testing.assert_array_equal(one.v[name], other.v[name][:, own])
        np.testing.assert_array_equal(one.spikes[name], other.spikes[name][:, own])


def wide_network(columns: int, rows: int, *, bias: float = 0.0) -> Network:
    weight = np.random.default_rng(0).normal(0, 1.5 / np.sqrt(columns), (rows, columns))
    out = Lif(
        name="out",
        shape=(rows,),
        current_decay=0.25,
        voltage_decay=0.9,
        threshold=1.0,
        bias=np.full(rows, bias),
    )
    return Network(
        name="wide",
        dt_s=1e-3,
        output="out",
        populations=(Input(name="in", shape=(columns,)), out),
        projections=(Dense(name="w", source="in", target="out", weight=weight),),
    )


def test_a_fan_in_beyond_any_core_compiles_and_runs() -> None:
    network = wide_network(20_000, 32)
    result = compile_network(network, LOIHI2, CompileOptions())
    assert check_rules(result.artifact) == ()
    assert result.artifact.network.latency_steps == 2
    (layer,) = result.report["network"]["layers"]  # type: ignore[index]
    assert (layer["in"], layer["out"], layer["realisation"]) == (20_000, 32, "full, split")
    rng = np.random.default_rng(0)
    stimulus = Stimulus(payloads=(rng.random((1, 12, 20_000)) < 0.05).astype(np.int8))
    verification = verify(result.artifact, stimulus, ["chip"], model=network)
    assert verification.stages[-1].first is None
    model = verification.stages[0]
    assert model.name == "float"
    assert model.differing_spikes["out"] < 0.05
    assert simulate(result.artifact, stimulus).spikes["out"].any()


def test_a_wide_factor_pair_saves_packets() -> None:
    """410 spikes to 4 cores each, or to one and 512 partial sums."""
    weight = np.random.default_rng(0).normal(0, 0.1, (2048, 64))
    pair = LowRank(name="pair", source="in", target="out", U=weight[:8], V=weight, levels=(64,))
    network = replace(wide_network(2048, 8), projections=(pair,))
    reports = {
        goal: compile_network(network, LOIHI2, CompileOptions(optimise=goal)).report
        for goal in ("energy", "latency")
    }
    packets = {goal: report["noc"]["packets_per_step"] for goal, report in reports.items()}  # type: ignore[index]
    assert packets["energy"] < WORTHWHILE * packets["latency"]
    (layer,) = reports["energy"]["network"]["layers"]  # type: ignore[index]
    assert (layer["rank"], layer["realisation"]) == (64, "factored, split")


@pytest.mark.parametrize(
    ("network", "chip", "reason"),
    [
        (wide_network(40, 3, bias=0.1), tiny_chip(input_axons=30), "the bias of out acts"),
        (
            dense_network((6, 40, 3), recurrent=True),
            tiny_chip(input_axons=30),
            "it lies in a loop",
        ),
        (
            wide_network(40, 3),
            tiny_chip(input_axons=30, graded_spikes=False),
            "graded spikes, which tiny lacks",
        ),
        (
            wide_network(40, 3),
            tiny_chip(input_axons=30, numeric={"payload_bits": 9}),
            "partial sums can reach",
        ),
        (
            wide_network(40, 3),
            tiny_chip(input_axons=30, numeric={"weight_exponent_min": 7}),
            "the shift of the complete sum",
        ),
        (
            optioned_network(at="source"),
            tiny_chip(input_axons=3),
            "",
        ),
    ],
)
def test_what_cannot_be_split_says_why(network: Network, chip: ChipSpec, reason: str) -> None:
    with refused(CapacityError, "ADL-CAP-08", message=reason, remedy="the fan-in of the layer"):
        split(quantised(network), chip)


def test_a_way_beside_it_may_need_too_long_a_delay() -> None:
    network = quantised(wide_network(40, 3))
    (only,) = network.projections
    late = replace(only, spec=replace(only.spec, name="late", delays=(LONGEST_DELAY,) * 40))
    both = replace(network, projections=(only, late))
    with refused(CapacityError, "ADL-CAP-08", where="w", message="a delay of 64 steps"):
        split(both, tiny_chip(input_axons=30))
