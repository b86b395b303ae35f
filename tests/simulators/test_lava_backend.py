from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from support.integer_networks import Case, cases

from simulators.chip.run import run_chip
from simulators.lava.run import run_lava

pytestmark = pytest.mark.lava


def _assert_lava_equals_chip(case: Case, *, fuse: bool = False) -> None:
    run = case.run(fuse=fuse)
    lava, chip = run_lava(run), run_chip(run)
    for group in ("spikes", "u", "v"):
        assert getattr(lava, group).keys() == getattr(chip, group).keys()
        for name, values in getattr(chip, group).items():
            np.testing.assert_array_equal(getattr(lava, group)[name], values, f"{group} of {name}")


@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_random_networks_fused_into_one_process(case: Case) -> None:
    _assert_lava_equals_chip(case, fuse=True)


@settings(max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_random_networks_with_values_at_the_edges(case: Case) -> None:
    _assert_lava_equals_chip(case)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_many_random_networks(case: Case) -> None:
    _assert_lava_equals_chip(case)
