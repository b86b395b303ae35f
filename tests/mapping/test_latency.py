from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip

from mapping.cost import SYNAPTIC_OPS, ActionCounts, dynamic_energy_j, static_power_w
from mapping.errors import ConfigError
from mapping.latency import (
    DEFAULT_LATENCY_MODEL,
    LATENCY_MODELS,
    Work,
    core_time_s,
    estimate_status,
    step_time_s,
    totals,
)
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

LOIHI2 = load_target("loihi2")
SEEDS = st.integers(0, 2**32 - 1)
NANOSECOND_COMPARTMENT = {
    "compartment_access": 2.65,
    "compartment_update": 1.35,
    "spike": 3.0,
    "axon_out": 5.1,
}
NANOSECOND_MESSAGE = {"axon_in": 16.0, "synaptic_op": 0.66}
NANOSECOND_SCARCE = {"compartment_update": 4.0, "synaptic_op": 0.66, "synapse_read": 2.1}
"""The tables of HARDWARE.md, typed in again."""


def random_work(seed: int, used_tiles: int = 5) -> Work:
    """Two samples of three steps on four cores; about a third of the counts are zero."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4)
    return Work(
        counts=ActionCounts(
            **{f.name: np.maximum(rng.integers(-500, 1000, shape), 0) for f in fields(ActionCounts)}
        ),
        used_tiles=used_tiles,
        busiest_link=rng.integers(0, 9000, shape[:2]),
        busiest_chip_link=rng.integers(0, 300, shape[:2]),
    )


def durations(work: Work, chip: ChipSpec, model: str) -> np.ndarray:
    return step_time_s(work, chip, LATENCY_MODELS.get(model).time(chip, work.used_tiles))


def barrier_s(used_tiles: int) -> float:
    return 113e-9 + (465e-9 - 113e-9) * (used_tiles - 1) / 31


@settings(max_examples=20)
@given(seed=SEEDS, used_tiles=st.sampled_from([1, 5, 32]))
def test_max_core_is_the_slowest_core_or_the_host_and_then_the_barrier(
    seed: int, used_tiles: int
) -> None:
    work = random_work(seed, used_tiles)
    counts = work.counts
    own = sum(getattr(counts, name) * ns for name, ns in NANOSECOND_COMPARTMENT.items())
    messages = sum(getattr(counts, name) * ns for name, ns in NANOSECOND_MESSAGE.items())
    slowest = np.maximum(own, messages).max(axis=2)
    host = 5.1 * counts.host_packet.sum(axis=2)
    assert (host > slowest).any() or (slowest > host).any()
    expected = np.maximum(slowest, host) * 1e-9 + barrier_s(used_tiles)
    np.testing.assert_allclose(durations(work, LOIHI2, "max-core"), expected)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_max_affine_is_the_scarcest_resource_alone(seed: int) -> None:
    work = random_work(seed)
    most = [
        getattr(work.counts, name).max(axis=2) * ns * 1e-9 for name, ns in NANOSECOND_SCARCE.items()
    ]
    links = [work.busiest_link * 0.58e-9, work.busiest_chip_link * 15e-9]
    expected = np.maximum(np.max([*most, *links], axis=0), barrier_s(5))
    np.testing.assert_allclose(durations(work, LOIHI2, "max-affine"), expected)


@pytest.mark.parametrize("name", ["busiest_link", "busiest_chip_link"])
def test_max_affine_waits_for_a_full_link(name: str) -> None:
    work = random_work(0)
    full = replace(work, **{name: getattr(work, name) + 100_000})
    packet_s = {"busiest_link": 0.58e-9, "busiest_chip_link": 15e-9}[name]
    expected = getattr(full, name) * packet_s
    np.testing.assert_allclose(durations(full, LOIHI2, "max-affine"), expected)
    alike = durations(full, LOIHI2, "max-core"), durations(work, LOIHI2, "max-core")
    np.testing.assert_array_equal(*alike)


@pytest.mark.parametrize("model", LATENCY_MODELS.names())
@settings(max_examples=10)
@given(seed=SEEDS)
def test_more_work_never_takes_less_time(model: str, seed: int) -> None:
    work, more = random_work(seed), random_work(seed + 1)
    both = replace(
        work,
        counts=ActionCounts(
            **{name: values + getattr(more.counts, name) for name, values in work.counts.items()}
        ),
        busiest_link=work.busiest_link + more.busiest_link,
        busiest_chip_link=work.busiest_chip_link + more.busiest_chip_link,
    )
    assert (durations(both, LOIHI2, model) >= durations(work, LOIHI2, model)).all()


@pytest.mark.parametrize("model", LATENCY_MODELS.names())
def test_no_step_is_shorter_than_the_chips_shortest(model: str) -> None:
    work = random_work(0, used_tiles=1)
    none = ActionCounts(**{name: values * 0 for name, values in work.counts.items()})
    links = {name: np.zeros((2, 3), int) for name in ("busiest_link", "busiest_chip_link")}
    idle = replace(work, counts=none, **links)
    np.testing.assert_allclose(durations(idle, LOIHI2, model), 200e-9)


def test_idle_cores_take_no_time_for_accesses_only_if_the_chip_can_skip_them() -> None:
    none = np.zeros((1, 1, 2), int)
    counts = ActionCounts(**{f.name: none for f in fields(ActionCounts)})
    counts = replace(counts, compartment_access=none + 10, axon_in=np.array([[[1, 0]]]))
    for skip in (False, True):
        chip = tiny_chip(skip_idle_cores=skip)
        time = LATENCY_MODELS.get(DEFAULT_LATENCY_MODEL).time(chip, 1)
        assert bool(core_time_s(counts, chip, time)[0, 0, 1] == 0.0) is skip


@settings(max_examples=10)
@given(seed=SEEDS)
def test_totals_are_means_per_sample(seed: int) -> None:
    work = random_work(seed)
    found = totals(work, LOIHI2)
    energy = sum(e.sum() for e in dynamic_energy_j(work.counts, LOIHI2).values())
    assert found.dynamic_j == pytest.approx(energy / 2)
    assert found.latency_s == pytest.approx(durations(work, LOIHI2, "max-core").sum() / 2)
    assert found.static_j == pytest.approx(static_power_w(LOIHI2, 4) * found.latency_s)
    assert found.energy_j == found.dynamic_j + found.static_j


def test_the_status_is_that_of_the_constants_that_the_model_reads() -> None:
    fit = load_target("loihi1-fit")
    assert estimate_status(fit, "max-affine") == "assumed"
    assert fit.weakest_status(*LATENCY_MODELS.get("max-core").constants) == "assumed"
    for model in LATENCY_MODELS.names():
        prefixes = LATENCY_MODELS.get(model).constants
        assert all(any(n.startswith(p) for n in fit.constants()) for p in prefixes)


def test_an_unknown_model_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown latency model 'max-cores'") as caught:
        totals(random_work(0), LOIHI2, "max-cores")
    assert "max-affine, max-core" in caught.value.remedy
    assert set(SYNAPTIC_OPS) == {"dense", "sparse", "conv"}
