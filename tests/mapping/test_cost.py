from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip

from mapping.cost import (
    COMPONENTS,
    ActionCounts,
    dynamic_energy_j,
    static_power_w,
)
from mapping.targets.load import load_target

LOIHI2 = load_target("loihi2")
PICOJOULE = {
    "synaptic_op_dense": 23.6,
    "synaptic_op_sparse": 23.6,
    "synaptic_op_conv": 23.6,
    "compartment_access": 52.0,
    "compartment_update": 29.0,
    "spike": 69.3,
    "axon_out": 111.0,
    "axon_in": 0.0,
    "within_tile": 1.7,
    "hop_east_west": 3.0,
    "hop_north_south": 4.0,
    "hop_chip": 500.0,
    "host_packet": 111.0,
}
"""The table of HARDWARE.md, typed in again."""


def random_counts(seed: int, shape: tuple[int, int, int] = (2, 3, 4)) -> ActionCounts:
    """Counts of which about a third are zero."""
    rng = np.random.default_rng(seed)
    return ActionCounts(
        **{f.name: np.maximum(rng.integers(-500, 1000, shape), 0) for f in fields(ActionCounts)}
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_energy_is_the_sum_of_count_times_constant(seed: int) -> None:
    counts = random_counts(seed)
    energy = dynamic_energy_j(counts, LOIHI2)
    priced = {name: values for name, values in counts.items() if name != "synapse_read"}
    total = sum(values * PICOJOULE[name] * 1e-12 for name, values in priced.items())
    np.testing.assert_allclose(sum(energy.values()), total, rtol=1e-12)
    np.testing.assert_allclose(
        energy["hop"],
        1.7e-12 * counts.within_tile
        + 3e-12 * counts.hop_east_west
        + 4e-12 * counts.hop_north_south
        + 500e-12 * counts.hop_chip,
    )
    np.testing.assert_allclose(energy["host"], 111e-12 * counts.host_packet)
    assert all(values.shape == (2, 3, 4) for values in energy.values())


def test_every_action_but_reading_memory_belongs_to_one_component() -> None:
    """The energy of a synaptic operation includes that of reading the synapse."""
    named = [action for actions in COMPONENTS.values() for action in actions]
    assert sorted([*named, "synapse_read"]) == sorted(f.name for f in fields(ActionCounts))
    assert set(PICOJOULE) == set(named) == {f.name for f in fields(LOIHI2.energy_j)}


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), action=st.sampled_from(sorted(PICOJOULE)))
def test_one_more_action_costs_its_constant(seed: int, action: str) -> None:
    counts = random_counts(seed)
    more = replace(counts, **{action: getattr(counts, action) + 1})
    extra = sum(dynamic_energy_j(more, LOIHI2).values()) - sum(
        dynamic_energy_j(counts, LOIHI2).values()
    )
    np.testing.assert_allclose(extra, PICOJOULE[action] * 1e-12, atol=1e-18)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_twice_the_actions_cost_twice_the_energy(seed: int) -> None:
    counts = random_counts(seed)
    double = ActionCounts(**{name: 2 * values for name, values in counts.items()})
    for skip in (False, True):
        chip = tiny_chip(skip_idle_cores=skip)
        once, twice = dynamic_energy_j(counts, chip), dynamic_energy_j(double, chip)
        for component in COMPONENTS:
            np.testing.assert_allclose(twice[component], 2 * once[component])


def test_expected_counts_may_be_fractions() -> None:
    counts = random_counts(0)
    tenth = ActionCounts(**{name: values / 10 for name, values in counts.items()})
    for component, energy in dynamic_energy_j(tenth, LOIHI2).items():
        np.testing.assert_allclose(energy, dynamic_energy_j(counts, LOIHI2)[component] / 10)


def test_idle_cores_skip_their_accesses_only_if_the_chip_can() -> None:
    none = np.zeros((1, 1, 3), np.int64)
    counts = ActionCounts(**{f.name: none for f in fields(ActionCounts)})
    counts = replace(
        counts,
        compartment_access=none + 10,
        axon_in=np.array([[[1, 0, 0]]]),
        compartment_update=np.array([[[0, 1, 0]]]),
    )
    assert counts.dark.tolist() == [[[False, False, True]]]
    for skip, charged in ((False, [10, 10, 10]), (True, [10, 10, 0])):
        energy = dynamic_energy_j(counts, tiny_chip(skip_idle_cores=skip))
        np.testing.assert_allclose(
            energy["compartment_access"][0, 0], np.array(charged) * 52e-12, rtol=1e-12
        )
    assert counts.compartment_access.tolist() == [[[10, 10, 10]]]


def test_static_power_is_shared_by_core() -> None:
    assert static_power_w(LOIHI2, LOIHI2.cores) == pytest.approx(0.248)
    assert static_power_w(LOIHI2, 30) == pytest.approx(0.248 / 4)
    assert static_power_w(LOIHI2, 0) == 0.0
