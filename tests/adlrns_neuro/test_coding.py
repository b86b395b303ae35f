from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused

from adlrns_neuro.data import (
    Coding,
    code,
    delta_code,
    direct_code,
    latency_code,
    load_digits_splits,
    rate_code,
    requantised,
    spread_phases,
)
from adlrns_neuro.data.coding import graded, is_binary
from mapping.errors import ConfigError

LEVELS = np.arange(17, dtype=np.int64)[np.newaxis]
"""One image that holds every pixel value."""


def test_direct_code_sends_the_pixels_at_every_step() -> None:
    payloads = direct_code(LEVELS, 3)
    for step in range(3):
        np.testing.assert_array_equal(payloads[:, step], LEVELS)


def test_delta_code_sends_the_pixels_once() -> None:
    payloads = delta_code(LEVELS, 3)
    np.testing.assert_array_equal(payloads[:, 0], LEVELS)
    assert not payloads[:, 1:].any()
    np.testing.assert_array_equal(payloads.cumsum(axis=1), direct_code(LEVELS, 3))


@given(steps=st.integers(1, 40), phase=st.integers(0, 15))
def test_rate_code_spikes_in_the_pixels_share_of_the_steps_evenly(steps: int, phase: int) -> None:
    spikes = rate_code(LEVELS, steps, phases=np.full(17, phase))
    assert set(np.unique(spikes)) <= {0, 1}
    counted = spikes.cumsum(axis=1)
    for step in range(steps):
        wanted = ((step + 1) * LEVELS + phase) // 16
        np.testing.assert_array_equal(counted[:, step], wanted)
    assert not spikes[..., 0].any(), "black is silent"
    assert spikes[..., 16].all(), "white spikes in every step"


def test_rate_code_starts_at_phase_zero_unless_told() -> None:
    np.testing.assert_array_equal(
        rate_code(LEVELS, 8), rate_code(LEVELS, 8, phases=np.zeros(17, np.int64))
    )
    assert rate_code(LEVELS, 8)[0, :, 8].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_phases_part_pixels_of_one_value() -> None:
    phases = spread_phases(64)
    assert sorted(phases[:16]) == list(range(16))
    grid = phases.reshape(8, 8)
    assert (np.diff(grid, axis=0) != 0).all()
    assert (np.diff(grid, axis=1) != 0).all()
    grey = np.full((1, 64), 8, np.int64)
    together, apart = rate_code(grey, 8), rate_code(grey, 8, phases=phases)
    assert set(together.sum(axis=2).ravel()) == {0, 64}
    assert set(apart.sum(axis=2).ravel()) == {32}


@given(steps=st.integers(1, 40))
def test_latency_code_spikes_once_and_brighter_is_never_later(steps: int) -> None:
    spikes = latency_code(LEVELS, steps)
    np.testing.assert_array_equal(spikes.sum(axis=1), LEVELS > 0)
    first = spikes[0, :, 1:].argmax(axis=0)
    assert (np.diff(first) <= 0).all()
    assert first[-1] == 0
    assert first[0] == 15 * steps // 16


@pytest.mark.parametrize("coding", get_args(Coding))
def test_every_coding_makes_a_stimulus_of_integers(coding: Coding) -> None:
    images = load_digits_splits(0).test.images
    payloads = code(images, 5, coding)
    assert payloads.shape == (len(images), 5, 64)
    assert payloads.dtype == np.int64
    assert payloads.min() == 0
    assert payloads.max() == (1 if is_binary(coding) else 16)
    np.testing.assert_array_equal(payloads, code(images, 5, coding))


def test_the_codings_are_distinct() -> None:
    images = load_digits_splits(0).test.images
    assert len({code(images, 5, coding).tobytes() for coding in get_args(Coding)}) == 4
    spread = rate_code(images, 5, phases=spread_phases(64))
    np.testing.assert_array_equal(code(images, 5, "rate"), spread)


def test_an_unknown_coding_is_refused() -> None:
    with refused(ConfigError, "ADL-COD-01", where="coding", message="'burst'", remedy="latency"):
        code(LEVELS, 5, "burst")  # type: ignore[arg-type]


@given(maximum=st.integers(1, 300), width=st.integers(1, 40), steps=st.integers(1, 12))
def test_codings_of_any_width_and_range_keep_to_their_rules(
    maximum: int, width: int, steps: int
) -> None:
    images = np.random.default_rng(0).integers(0, maximum + 1, (5, width)).astype(np.uint16)
    coded = {name: code(images, steps, name, maximum=maximum) for name in get_args(Coding)}
    for payloads in coded.values():
        assert payloads.shape == (5, steps, width)
        assert payloads.dtype == np.uint16
    np.testing.assert_array_equal(coded["direct"][:, -1], images)
    np.testing.assert_array_equal(coded["delta"].sum(axis=1), images)
    np.testing.assert_array_equal(coded["latency"].sum(axis=1), images > 0)
    shares = coded["rate"].sum(axis=1) - steps * images / maximum
    assert (np.abs(shares) < 1).all(), "as many spikes as the pixel's share of the steps, rounded"


def test_direct_code_of_bytes_sends_every_byte() -> None:
    images = np.arange(256, dtype=np.uint8)[np.newaxis]
    payloads = code(images, 2, "direct", maximum=255)
    assert payloads.dtype == np.uint8
    np.testing.assert_array_equal(payloads[0, 1], np.arange(256))


def test_rate_code_of_bytes_does_not_overflow() -> None:
    images = np.arange(256, dtype=np.uint8)[np.newaxis]
    spikes = rate_code(images, 255, maximum=255)
    np.testing.assert_array_equal(spikes.sum(axis=1, dtype=np.int64), images)


@pytest.mark.parametrize("maximum", [1, 2, 3, 15, 16, 30, 210, 255])
def test_as_many_neighbours_as_the_scale_is_long_have_all_phases(maximum: int) -> None:
    phases = spread_phases(3 * maximum, maximum=maximum)
    assert sorted(phases[maximum : 2 * maximum]) == list(range(maximum))


def test_a_coarser_scale_rounds_and_keeps_black_and_white() -> None:
    images = np.arange(256, dtype=np.uint8)[np.newaxis]
    coarse = requantised(images, maximum=255, to=16)
    assert coarse.dtype == np.uint8
    np.testing.assert_array_equal(coarse, np.floor(images / 255 * 16 + 0.5))
    assert coarse[0, [0, 255]].tolist() == [0, 16]
    np.testing.assert_array_equal(requantised(images, maximum=255, to=255), images)
    with refused(ConfigError, "ADL-COD-02", where="to", message="300 of 255"):
        requantised(images, maximum=255, to=300)


@pytest.mark.parametrize("coding", get_args(Coding))
def test_what_a_coding_cannot_send_is_refused(coding: Coding) -> None:
    with refused(ConfigError, "ADL-COD-02", where="images", message="0 to 16", remedy="255"):
        code(np.full((1, 4), 17), 5, coding)
    with refused(ConfigError, "ADL-COD-02", where="images", message="float64"):
        code(np.zeros((1, 4)), 5, coding)  # type: ignore[type-var]
    with refused(ConfigError, "ADL-COD-02", where="images", message="(1, 2, 2)"):
        code(np.zeros((1, 2, 2), np.int64), 5, coding)
    with refused(ConfigError, "ADL-COD-02", where="steps", message="0 steps"):
        code(LEVELS, 0, coding)


def test_features_are_sent_in_units_and_those_below_zero_not_at_all() -> None:
    features = np.array([[-3.0, 0.0, 0.24, 0.26, 1.0, 99.0]], np.float32)
    payloads = graded(features, unit=0.5, maximum=16)
    assert payloads.dtype == np.uint8
    np.testing.assert_array_equal(payloads, [[0, 0, 0, 1, 2, 16]])


@pytest.mark.parametrize(
    ("feature", "unit", "maximum"),
    [(np.nan, 1.0, 16), (np.inf, 1.0, 16), (0.0, 0.0, 16), (0.0, 1.0, 0), (0.0, 1.0, 256)],
)
def test_features_that_no_payload_can_carry_are_refused(
    feature: float, unit: float, maximum: int
) -> None:
    with refused(ConfigError, "ADL-COD-03", where="graded", remedy="1 to 255"):
        graded(np.array([feature]), unit=unit, maximum=maximum)
