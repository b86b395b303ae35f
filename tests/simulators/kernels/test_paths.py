"""Every path computes the equation, whatever the shapes, ranks and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.low_rank import Call, calls, random_call

from simulators.kernels import PackedFactors, Workspace
from simulators.kernels.forward import run_path
from simulators.kernels.job import PATHS
from simulators.kernels.vector import GROUP, LANES, STRIP

NOTHING = np.empty(0, np.float32)


def run(call: Call, path: str, threads: int = 1) -> np.ndarray:
    """The call's outputs on one path."""
    factors = PackedFactors(call.U, call.V)
    out = np.full((len(call.x), len(call.U)), np.nan, np.float32)
    run_path(
        path,
        factors,
        call.x,
        call.ranks,
        out,
        Workspace(factors, len(call.x)),
        scale=NOTHING if call.scale is None else call.scale,
        bias=NOTHING if call.bias is None else call.bias,
        threads=threads,
    )
    return out


@settings(max_examples=200)
@given(calls(), st.sampled_from(PATHS), st.integers(1, 3))
def test_a_path_computes_the_equation(call: Call, path: str, threads: int) -> None:
    call.check(run(call, path, threads))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(96, 5000, 40), (3000, 64, 300), (1, 1, 1)])
@pytest.mark.parametrize("batch", [1, 7, 150])
def test_large_and_tiny_factors(shape: tuple[int, int, int], batch: int, path: str) -> None:
    """Inputs beyond what the first stage takes at a time, and several groups of tiles."""
    rng = np.random.default_rng(batch)
    call = random_call(rng, shape, batch, activity=0.5, scaled=True, biased=True)
    call.check(run(call, path, threads=2))


@pytest.mark.parametrize("outputs", [LANES * (2 * STRIP - 1) + 3, LANES * (STRIP + 5), LANES - 1])
@pytest.mark.parametrize("inputs", [3 * LANES - 1, LANES, 1])
def test_a_sample_of_any_strips_and_any_part_of_a_group(outputs: int, inputs: int) -> None:
    """Strips of every width, a last vector that is not whole, every number of ranks of a group."""
    rng = np.random.default_rng(outputs)
    ranks = 2 * GROUP + 3
    call = random_call(rng, (outputs, inputs, ranks), ranks + 1, scaled=True, biased=True)
    call.ranks[:] = np.arange(ranks + 1)
    call.check(run(call, "rows"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_that_is_made_again_has_the_same_bits(path: str, threads: int) -> None:
    """Whoever takes a part of it: the parts are the same, and so is the order of their sums."""
    call = random_call(np.random.default_rng(3), (200, 100, 48), 64)
    np.testing.assert_array_equal(run(call, path, threads), run(call, path, threads))


@pytest.mark.parametrize("path", PATHS)
def test_columns_beyond_the_rank_are_not_touched(path: str) -> None:
    call = random_call(np.random.default_rng(1), (50, 30, 20), 9, scaled=True)
    call.ranks[:] = np.arange(9)
    expected = run(call, path)
    for array in (call.U, call.V):
        array[:, 9:] = np.nan
    assert call.scale is not None
    call.scale[9:] = np.inf
    np.testing.assert_array_equal(run(call, path), expected)


@pytest.mark.parametrize("path", ["rows", "tiles"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_within_the_rank_spread_as_the_equation_says(
    path: str, value: float
) -> None:
    rng = np.random.default_rng(2)
    for array in ("x", "U", "V", "scale", "bias"):
        call = random_call(rng, (37, 29, 11), 12, scaled=True, biased=True)
        found = getattr(call, array)
        found[np.unravel_index(rng.integers(found.size), found.shape)] = value
        with np.errstate(invalid="ignore"):
            expected = call.expected()
        outputs = run(call, path)
        np.testing.assert_array_equal(np.isnan(outputs), np.isnan(expected))
        infinite = np.isinf(expected)
        np.testing.assert_array_equal(outputs[infinite], expected[infinite])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_event_may_be_nan_or_infinite(value: float) -> None:
    call = random_call(np.random.default_rng(4), (37, 29, 11), 12, activity=0.2)
    call.ranks[0], call.x[0, 3] = 11, value
    outputs = run(call, "events")
    with np.errstate(invalid="ignore"):
        expected = call.expected()
    np.testing.assert_array_equal(np.isfinite(outputs), np.isfinite(expected))
    assert not np.isfinite(outputs[0]).any()
