"""Convolutions, pooling, sparse synapses and leaky integrators on the chip's number grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import changed, random_payloads
from support.spatial import CONV, POOL, spatial_network

from mapping.ir.network import Dense, Input, Li, Network
from mapping.ir.quantized import NEVER, IntegerLif, QuantizedNetwork
from mapping.ir.synapses import SparseSynapses
from mapping.passes.quantize import Quantize
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.fixedpoint import STATE_LIMIT, STATE_SHIFT
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

CHIP = load_target("loihi2")


def quantised(network: Network, bits: int | None = None) -> QuantizedNetwork:
    return Quantize(weight_bits=bits).run(network, CHIP)


def lif(network: QuantizedNetwork, name: str) -> IntegerLif:
    population = network.population(name)
    assert isinstance(population, IntegerLif)
    return population


def test_forms_geometry_and_delays_are_kept() -> None:
    floats = spatial_network()
    integers = quantised(floats)
    forms = ["conv", "conv", "sparse", "sparse", "dense"]
    assert [p.spec.form for p in integers.projections] == forms
    assert [p.spec.conv for p in integers.projections] == [CONV, POOL, None, None, None]
    for before, after in zip(floats.projections, integers.projections, strict=True):
        delays = before.delays.tolist() if before.delays.any() else []  # type: ignore[union-attr]
        assert list(after.spec.delays) == delays
        assert after.synapses.count == before.synapses.count  # type: ignore[union-attr]
    listed = integers.projections[2].synapses
    assert isinstance(listed, SparseSynapses)
    np.testing.assert_array_equal(listed.targets, floats.projections[2].synapses.targets)  # type: ignore[union-attr]
    assert integers.latency_steps == sum(
        p.spec.longest_delay + 1 for p in integers.projections if p.spec.name != "loop"
    )


def test_integrators_never_spike() -> None:
    out = lif(quantised(spatial_network()), "out")
    assert out.threshold == NEVER
    assert not out.spikes
    assert lif(quantised(spatial_network()), "hidden").spikes


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(3, 8), payload_max=st.sampled_from([1, 9]))
def test_mantissas_are_the_nearest(seed: int, bits: int, payload_max: int) -> None:
    floats = spatial_network(seed=seed, payload_max=payload_max)
    integers = quantised(floats, bits)
    for before, after in zip(floats.projections, integers.projections, strict=True):
        spec = after.spec
        source = integers.population(spec.source)
        per_payload = source.payload_scale if isinstance(source, Input) else 1.0
        unit = 2.0 ** (spec.weight_shift + spec.exponent)
        wanted = before.synapses.values * lif(integers, spec.target).scale * per_payload / unit  # type: ignore[union-attr]
        bound = 2 ** (bits - 1)
        nearest = np.clip(np.rint(wanted), -bound, bound - 1)
        np.testing.assert_array_equal(after.mantissas, nearest)
        if spec.name == "pool":
            assert np.unique(after.mantissas).size == 1


def voltage(integers: QuantizedNetwork, name: str, v: np.ndarray) -> np.ndarray:
    return v / (lif(integers, name).scale * 2**STATE_SHIFT)


@pytest.mark.parametrize("payload_max", [1, 3])
def test_the_integer_run_is_close_to_the_float_run(payload_max: int) -> None:
    floats = spatial_network(payload_max=payload_max, seed=3)
    integers = quantised(floats)
    payloads = random_payloads(floats, samples=6, steps=40)
    wanted = run_float_network(floats, payloads)
    ran = run_integer_network(integers, payloads)
    for name in ("features", "pooled", "hidden"):
        assert 0.05 < wanted[name].mean() < 0.95
        assert (ran.spikes[name] != wanted[name]).mean() < 0.05, name
    assert not ran.spikes["out"].any()
    error = voltage(integers, "out", ran.v["out"]) - wanted["out"]
    assert np.sqrt((error**2).mean()) < 0.2 * wanted["out"].std()
    assert max(f.relative_error for f in integers.fidelity) < 0.01


def test_without_spikes_between_only_rounding_is_left() -> None:
    """An integrator right behind the input: nothing can flip a spike."""
    rng = np.random.default_rng(0)
    network = Network(
        name="readout",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(20,)),
            Li(
                name="out",
                shape=(4,),
                current_decay=0.5,
                voltage_decay=0.75,
                bias=rng.normal(0, 0.1, 4),
            ),
        ),
        projections=(Dense(name="w", source="in", target="out", weight=rng.normal(0, 1, (4, 20))),),
    )
    payloads = random_payloads(network, samples=4, steps=50)
    integers = quantised(network)
    wanted = run_float_network(network, payloads)["out"]
    found = voltage(integers, "out", run_integer_network(integers, payloads).v["out"])
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    leak=st.sampled_from([0.0, 0.5, 0.99, 0.9999, 1.0]),
    flow=st.sampled_from([0.0, 0.5, 0.99]),
    weight=st.sampled_from([1e-3, 1.0, 1e4]),
    payload_max=st.sampled_from([1, 255]),
)
def test_no_current_wraps_and_no_integrator_saturates(
    seed: int, leak: float, flow: float, weight: float, payload_max: int
) -> None:
    """The worst input: every payload at its end, chosen by the sign of the weight."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, weight, (3, 8))
    network = Network(
        name="worst",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(8,), payload_max=payload_max, payload_min=-payload_max),
            Li(
                name="out",
                shape=(3,),
                current_decay=flow,
                voltage_decay=max(leak, 1e-3),
                bias=np.sign(weights[:, 0]) * rng.uniform(0, weight),
            ),
        ),
        projections=(Dense(name="w", source="in", target="out", weight=weights),),
    )
    integers = quantised(network)
    worst = np.sign(weights[:, None, :]) * np.full((1, 200, 1), payload_max)
    ran = run_integer_network(integers, worst.astype(np.int64))
    for neuron in range(3):
        u, v = ran.u["out"][neuron, 2:, neuron], ran.v["out"][neuron, 2:, neuron]
        direction = np.sign(u[0])
        assert direction != 0
        assert (np.diff(u * direction) >= -(2**STATE_SHIFT)).all()
        assert np.abs(u).max() <= STATE_LIMIT
        assert np.abs(v).max() < STATE_LIMIT - 1


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), payload_max=st.sampled_from([1, 7]))
def test_compiled_programs_keep_every_number_rule(seed: int, payload_max: int) -> None:
    network = spatial_network(seed=seed, payload_max=payload_max)
    result = compile_network(network, CHIP, CompileOptions())
    assert {d.code for d in result.diagnostics} <= {"ADL-NUM-06"}


def test_the_report_names_the_forms() -> None:
    result = compile_network(
        spatial_network(), CHIP, CompileOptions(neurons_per_core=16, partitioner="first-fit")
    )
    network: Any = result.report["network"]
    rows = {row["name"]: row for row in network["layers"]}
    kinds = {name: (row["kind"], row["realisation"]) for name, row in rows.items()}
    assert kinds == {
        "conv": ("conv", "full"),
        "pool": ("conv", "full"),
        "sparse": ("sparse", "full"),
        "loop": ("sparse", "full"),
        "read": ("dense", "full"),
    }
    assert (rows["conv"]["in"], rows["conv"]["out"], rows["conv"]["cores"]) == (60, 48, 3)
    synapses = sum(p.synapses.count for p in spatial_network().projections)  # type: ignore[union-attr]
    assert network["synapses"] == synapses
    assert network["latency_steps"] == result.artifact.network.latency_steps
    (out,) = (p for p in network["populations"] if p["name"] == "out")
    assert out["threshold"] == NEVER


def test_an_integrator_with_a_huge_bias_gets_a_smaller_scale() -> None:
    network = spatial_network()
    plain = lif(quantised(network), "out").scale
    loud = lif(quantised(changed(network, "out", bias=np.full(3, 1e4))), "out")
    assert loud.scale < plain / 10
    assert (loud.bias_mantissa > 0).all()
    ran = run_integer_network(
        quantised(changed(network, "out", bias=np.full(3, 1e4))),
        random_payloads(network, samples=1, steps=60),
    )
    assert ran.v["out"].max() < STATE_LIMIT - 1


@pytest.mark.parametrize("leak", [0.8, 0.99, 1.0])
def test_integrators_that_hardly_leak_keep_their_resolution(leak: float) -> None:
    floats = changed(spatial_network(seed=3), "out", voltage_decay=leak)
    integers = quantised(floats)
    payloads = random_payloads(floats, samples=4, steps=40)
    wanted = run_float_network(floats, payloads)["out"]
    error = voltage(integers, "out", run_integer_network(integers, payloads).v["out"]) - wanted
    assert np.sqrt((error**2).mean()) < 0.03 * wanted.std()


def test_an_integrator_of_few_units_is_warned_of() -> None:
    slow = changed(spatial_network(), "out", voltage_decay=1.0, current_decay=0.995)
    (warning,) = (
        d for d in compile_network(slow, CHIP, CompileOptions()).diagnostics if d.where == "out"
    )
    assert (warning.code, warning.severity) == ("ADL-NUM-06", "warning")
    assert "units at most" in warning.message
    assert "current_decay" in warning.remedy


def test_integrators_without_input_keep_a_scale() -> None:
    """Weights of zero bound nothing; the bias alone does."""
    network = spatial_network()
    silent = changed(network, "read", weight=np.zeros((3, 9)))
    out = lif(quantised(silent), "out")
    assert 0 < out.scale < np.inf
    without = replace(silent.populations[-1], bias=np.zeros(3))
    assert isinstance(without, Li)
    silent = replace(silent, populations=(*silent.populations[:-1], without))
    assert 0 < lif(quantised(silent), "out").scale < np.inf
