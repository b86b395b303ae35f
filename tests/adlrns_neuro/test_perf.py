from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from support.errors import refused

from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError, TargetError
from mapping.processors.load import load_processor, processor_names
from mapping.processors.spec import ProcessorSpec

FOUNDING = {"gpu_cores": 5120, "memory_bandwidth": 1e12}
V100 = load_processor("v100")


def peak(profile: ProcessorSpec) -> float:
    return profile.peak_ops_per_s["fp32"].value


def test_the_default_is_the_v100() -> None:
    assert PerfEstimator().profile == PerfEstimator("v100").profile == V100


@pytest.mark.parametrize("name", processor_names())
def test_every_processor_has_a_price(name: str) -> None:
    cost = PerfEstimator(name).estimate(512, 256, 8)
    assert cost.energy_j > 0
    assert cost.latency_s > 0


def test_a_call_is_counted_by_hand() -> None:
    cost = PerfEstimator(V100).estimate(512, 256, 8, batch=32, r_max=64)
    assert cost.flops == 2 * 8 * 768 * 32
    assert cost.bytes_moved == 4 * (8 * 768 + 32 * 768)
    assert cost.bytes_resident == 4 * 64 * 768
    assert cost.latency_s == pytest.approx(cost.bytes_moved / 900e9)
    assert cost.energy_j * 32 == pytest.approx(cost.flops * 16.7e-12 + cost.bytes_moved * 42e-12)
    assert cost.energy_mj == cost.energy_j * 1e3
    assert cost.status == "inferred"


def test_a_large_batch_is_bound_by_the_cores() -> None:
    cost = PerfEstimator().estimate(4096, 4096, 1024, batch=4096)
    assert cost.latency_s == cost.flops / peak(V100) > cost.bytes_moved / 900e9


def test_figures_left_out_are_the_v100s() -> None:
    given = PerfEstimator(FOUNDING)
    assert peak(given.profile) == pytest.approx(peak(V100), rel=1e-3)
    assert given.profile.bandwidth_bytes_per_s.value == 1e12
    ours, v100 = given.estimate(512, 256, 8), PerfEstimator().estimate(512, 256, 8)
    assert ours.energy_j == v100.energy_j
    assert (ours.status, v100.status) == ("assumed", "inferred")
    own = PerfEstimator({**FOUNDING, "energy_per_flop_j": 1e-12, "energy_per_byte_j": 1e-30})
    assert own.estimate(512, 256, 8).energy_j == pytest.approx(2 * 8 * 768 * 1e-12)
    assert peak(PerfEstimator({**FOUNDING, "clock_hz": 1.0}).profile) == 2 * 5120


def test_a_peak_says_whose_clock_it_has() -> None:
    default, own = (
        PerfEstimator(figures).profile.peak_ops_per_s["fp32"]
        for figures in (FOUNDING, {**FOUNDING, "clock_hz": 1e9})
    )
    assert "1530 MHz" in default.source
    assert own.source.endswith("clock given by the caller")
    assert default.status == own.status == "assumed"


def test_energy_rises_with_the_rank_and_falls_with_the_batch() -> None:
    estimator = PerfEstimator()
    energies = estimator.energies_mj(512, 256, (4, 8, 64))
    assert list(energies) == [4, 8, 64]
    assert energies[4] < energies[8] < energies[64]
    assert estimator.estimate(512, 256, 8, batch=32).energy_mj < energies[8]


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"gpu_cores": 5120}, "memory_bandwidth"),
        ({**FOUNDING, "clock": 1e9}, "clock"),
    ],
)
def test_missing_and_unknown_figures_are_named(figures: dict[str, float], message: str) -> None:
    with refused(ConfigError, "ADL-PRF-01", message=message, remedy="clock_hz"):
        PerfEstimator(figures)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["gpu_cores", "memory_bandwidth", "clock_hz", "energy_per_flop_j"])
def test_a_figure_that_is_no_size_is_refused(key: str, value: float) -> None:
    with refused(ConfigError, "ADL-PRF-02", where=key, remedy="data sheet"):
        PerfEstimator({**FOUNDING, key: value})


def test_an_unknown_profile_names_the_nearest() -> None:
    with refused(TargetError, "ADL-PRC-01", where="v10", remedy="'v100'"):
        PerfEstimator("v10")
    assert PerfEstimator(replace(V100, name="mine")).profile.name == "mine"


@pytest.mark.parametrize(("rank", "r_max"), [(0, None), (257, None), (8, 4), (8, 300)])
def test_a_call_that_no_layer_makes_is_refused(rank: int, r_max: int | None) -> None:
    with refused(ConfigError, "ADL-PRF-03", where="estimate", remedy="256"):
        PerfEstimator().estimate(512, 256, rank, r_max=r_max)


@pytest.mark.parametrize("none", ["batch", "positions", "activations"])
def test_a_call_of_nothing_is_refused(none: str) -> None:
    for call in (partial(PerfEstimator().estimate, rank=8), PerfEstimator().estimate_dense):
        with refused(ConfigError, "ADL-PRF-03", where="estimate", remedy="1 or more"):
            call(512, 256, **{none: 0})


def test_a_convolution_uses_its_weights_at_every_position() -> None:
    fan_in, activations = 16 * 9, 16 * 32 * 32 + 32 * 16 * 16
    conv = {"positions": 16 * 16, "activations": activations}
    cost = PerfEstimator().estimate(fan_in, 32, 8, 2, **conv)
    assert cost.flops == 2 * 8 * (fan_in + 32) * 256 * 2
    assert cost.bytes_moved == 4 * (8 * (fan_in + 32) + activations * 2)
    assert cost.bytes_resident == 4 * 8 * (fan_in + 32)
    assert PerfEstimator().energies_mj(fan_in, 32, (8,), **conv) == {
        8: PerfEstimator().estimate(fan_in, 32, 8, **conv).energy_mj
    }
    dense = PerfEstimator().estimate_dense(fan_in, 32, 2, **conv)
    assert dense.flops == 2 * fan_in * 32 * 256 * 2
    assert dense.bytes_moved == 4 * (fan_in * 32 + activations * 2)
    assert dense.bytes_resident == 4 * fan_in * 32
