"""Every path computes the equation, whatever the shapes, ranks and threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.low_rank import Call, calls, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, Workspace, explain, low_rank_forward, permission
from simulators.kernels.forward import run_path
from simulators.kernels.job import PATHS
from simulators.kernels.layout import rounded
from simulators.kernels.vector import GROUP, LANES, STRIP

NOTHING = np.empty(0, np.float32)


def run(call: Call, path: str, threads: int = 1) -> np.ndarray:
    """The call's outputs on one path."""
    factors = PackedFactors(call.U, call.V, bfloat16=path == "bfloat16")
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
    call.check(run(call, path, threads), path=path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(96, 5000, 40), (3000, 64, 300), (1, 1, 1)])
@pytest.mark.parametrize("batch", [1, 7, 150])
def test_large_and_tiny_factors(shape: tuple[int, int, int], batch: int, path: str) -> None:
    """Inputs beyond what the first stage takes at a time, and several groups of tiles."""
    rng = np.random.default_rng(batch)
    call = random_call(rng, shape, batch, activity=0.5, scaled=True, biased=True)
    call.check(run(call, path, threads=2), path=path)


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
@pytest.mark.parametrize("batch", [17, 48, 64])
def test_nothing_is_left_of_an_earlier_call(path: str, batch: int) -> None:
    """High ranks, then lower and mixed ones in the same memory, on as many threads."""
    rng = np.random.default_rng(batch)
    call = random_call(rng, (70, 90, 100), batch)
    factors = PackedFactors(call.U, call.V, bfloat16=path == "bfloat16")
    workspace, out = Workspace(factors, batch), np.empty((batch, 70), np.float32)
    half = np.where(np.arange(batch) < 16, 100, 8)
    for ranks in (np.full(batch, 100), half, half % 100, rng.integers(0, 101, batch)):
        call.ranks[:] = ranks
        run_path(path, factors, call.x, call.ranks, out, workspace, threads=2)
        call.check(out, path=path)


@pytest.mark.parametrize("path", PATHS)
def test_columns_beyond_the_rank_are_not_touched(path: str) -> None:
    """Of factors that may be rounded U is finite."""
    call = random_call(np.random.default_rng(1), (50, 30, 20), 9, scaled=True)
    call.ranks[:] = np.arange(9)
    expected = run(call, path)
    call.V[:, 9:] = np.nan
    call.U[:, 9:] = 1e30 if path == "bfloat16" else np.nan
    assert call.scale is not None
    call.scale[9:] = np.inf
    np.testing.assert_array_equal(run(call, path), expected)


@pytest.mark.parametrize("path", ["rows", "tiles", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_within_the_rank_spread_as_the_equation_says(
    path: str, value: float
) -> None:
    rng = np.random.default_rng(2)
    for array in ("x", "V", "scale", "bias", *(["U"] if path != "bfloat16" else [])):
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


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_factors_that_cannot_be_rounded(value: float) -> None:
    """3.4e38 is finite, and bfloat16 would make it infinite."""
    call = random_call(np.random.default_rng(5), (40, 30, 20), 64)
    call.U[3, 4] = value
    factors = PackedFactors(call.U, call.V, bfloat16=True)
    workspace, out = Workspace(factors, 64), np.empty((64, 40), np.float32)
    with refused(ConfigError, "ADL-KRN-07", where="run_path.factors", remedy="finite"):
        run_path("bfloat16", factors, call.x, call.ranks, out, workspace)
    assert explain(call.x, factors, call.ranks).seconds["bfloat16"] == np.inf


def test_rounding_has_to_be_allowed() -> None:
    call = random_call(np.random.default_rng(5), (40, 30, 20), 64)
    out = np.empty((64, 40), np.float32)
    exact, rounded = (PackedFactors(call.U, call.V, bfloat16=may) for may in (False, True))
    assert explain(call.x, exact, call.ranks).seconds["bfloat16"] == np.inf
    assert explain(call.x, rounded, call.ranks).seconds["bfloat16"] < np.inf
    for factors, made_for, message, remedy in (
        (exact, exact, "do not allow it", "bfloat16=True"),
        (exact, rounded, "do not allow it", "bfloat16=True"),
        (rounded, exact, "the workspace is of others", "make a Workspace"),
    ):
        workspace = Workspace(made_for, 64)
        with refused(ConfigError, "ADL-KRN-07", message=message, remedy=remedy):
            run_path("bfloat16", factors, call.x, call.ranks, out, workspace)


def test_no_path_rounds_where_the_system_denies_its_registers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(permission, "may_multiply", lambda: False)
    call = random_call(np.random.default_rng(5), (40, 30, 20), 64)
    factors = PackedFactors(call.U, call.V, bfloat16=True)
    assert explain(call.x, factors, call.ranks).seconds["bfloat16"] == np.inf
    call.check(low_rank_forward(call.x, factors, None, call.ranks))
    out = np.empty((64, 40), np.float32)
    with refused(ConfigError, "ADL-KRN-07", message="the system denies", remedy="without"):
        run_path("bfloat16", factors, call.x, call.ranks, out, Workspace(factors, 64))


@settings(max_examples=50)
@given(st.lists(st.floats(width=32), min_size=1), st.integers(0, 2**32 - 1))
def test_rounding_is_that_of_torch(numbers: list[float], seed: int) -> None:
    ties = np.random.default_rng(seed).integers(0, 2**16, 50, np.uint32) << np.uint32(16)
    given = np.concatenate([np.float32(numbers), (ties + np.uint32(0x8000)).view(np.float32)])
    bits = rounded(given).astype(np.uint32) << np.uint32(16)
    expected = torch.from_numpy(given).bfloat16().float().numpy()
    np.testing.assert_array_equal(bits.view(np.float32), expected)
