"""What a caller may pass, and what comes back."""

from __future__ import annotations

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused
from support.low_rank import Call, calls, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, Workspace, low_rank_forward, low_rank_reference
from simulators.kernels.forward import NOTHING, run_path
from simulators.kernels.job import BY_BFLOAT16, PATHS
from simulators.kernels.vector import PANEL

STEPS = st.sampled_from([1, 2, 3, -1, -2])


def strided(array: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    """A copy of an array whose neighbours along each axis lie ``steps`` places apart."""
    sizes = [size * abs(step) for size, step in zip(array.shape, steps, strict=True)]
    found = np.zeros(sizes, array.dtype)[tuple(slice(None, None, step) for step in steps)]
    found[...] = array
    return found


@given(calls(), st.tuples(STEPS, STEPS), st.tuples(STEPS, STEPS))
def test_any_strides(call: Call, x_steps: tuple[int, int], out_steps: tuple[int, int]) -> None:
    out = strided(np.zeros((len(call.x), len(call.U)), np.float32), out_steps)
    found = low_rank_forward(
        strided(call.x, x_steps),
        strided(call.U, x_steps),
        strided(call.V, out_steps),
        strided(call.ranks, x_steps[:1]),
        scale=call.scale,
        bias=call.bias,
        out=out,
    )
    assert found is out
    call.check(found)


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 4)])
def test_leading_axes_and_ranks_that_broadcast(leading: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*leading, 12), np.float32)
    U, V = (rng.standard_normal((size, 6), np.float32) for size in (7, 12))
    ranks = rng.integers(0, 6, leading[-1:], endpoint=True) if leading else np.int64(4)
    found = low_rank_forward(x, U, V, ranks)
    np.testing.assert_allclose(found, low_rank_reference(x, U, V, ranks), rtol=1e-4, atol=1e-5)
    assert found.shape == (*leading, 7)
    np.testing.assert_array_equal(
        low_rank_forward(x, PackedFactors(U, V), None, 0), np.zeros_like(found)
    )


@pytest.mark.parametrize("sizes", [(2 * PANEL, 12, 3 * PANEL), (PANEL + 1, 12, PANEL - 1)])
def test_gains_and_biases_of_one_call_are_not_those_of_the_next(
    sizes: tuple[int, int, int],
) -> None:
    """Whether they fill whole panels, and are read where they lie, or are copied."""
    call = random_call(np.random.default_rng(0), sizes, 9)
    factors = PackedFactors(call.U, call.V)
    workspace, (outputs, _, r_max) = Workspace(factors, 9), sizes
    for path in PATHS[:BY_BFLOAT16]:
        for scale in (np.arange(r_max, dtype=np.float32), None):
            for bias in (None, np.arange(outputs, dtype=np.float32)):
                y = np.empty((9, outputs), np.float32)
                gains, start = (NOTHING if given is None else given for given in (scale, bias))
                run_path(path, factors, call.x, call.ranks, y, workspace, scale=gains, bias=start)
                replace(call, scale=scale, bias=bias).check(y)


def test_biases_may_lie_in_the_outputs() -> None:
    call = random_call(np.random.default_rng(0), (2 * PANEL, 12, 8), 40)
    call = replace(call, bias=np.arange(2 * PANEL, dtype=np.float32))
    factors, y = PackedFactors(call.U, call.V), np.empty((40, 2 * PANEL), np.float32)
    for row in (0, 39):
        y[row] = call.bias
        low_rank_forward(
            call.x,
            factors,
            None,
            call.ranks,
            scale=call.scale,
            bias=y[row],
            out=y,
            workspace=Workspace(factors, 40),
        )
        call.check(y)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int16", "uint16"])
def test_events_of_every_type(kind: str) -> None:
    call = random_call(np.random.default_rng(5), (40, 90, 24), 17)
    rng = np.random.default_rng(6)
    high = 2 if kind == "bool" else np.iinfo(kind).max
    x = (rng.integers(0, high, call.x.shape) * (rng.random(call.x.shape) < 0.1)).astype(kind)
    events = Call(x=x, U=call.U, V=call.V, ranks=call.ranks, scale=None, bias=None)
    events.check(low_rank_forward(x, call.U, call.V, call.ranks))


def test_no_sample() -> None:
    x, U, V = np.empty((0, 3), np.float32), np.ones((4, 2)), np.ones((3, 2))
    assert low_rank_forward(x, U, V, 1).shape == (0, 4)


def test_later_changes_to_the_factors_are_not_seen() -> None:
    call = random_call(np.random.default_rng(7), (8, 9, 4), 3)
    factors = PackedFactors(call.U, call.V)
    expected = low_rank_forward(call.x, factors, None, call.ranks)
    call.U[:] = 0
    np.testing.assert_array_equal(low_rank_forward(call.x, factors, None, call.ranks), expected)


@pytest.mark.parametrize("batch", [1, 300])
def test_nothing_is_allocated_with_out_and_workspace(batch: int) -> None:
    """Some hundred bytes for Python's own objects, where a row of x alone has 4096."""
    call = random_call(np.random.default_rng(8), (1024, 1024, 64), batch)
    factors = PackedFactors(call.U, call.V)
    workspace, out = Workspace(factors, batch), np.empty((batch, 1024), np.float32)

    def forward() -> None:
        low_rank_forward(call.x, factors, None, call.ranks, out=out, workspace=workspace)

    forward()
    tracemalloc.start()
    forward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096


def test_a_workspace_serves_smaller_batches_and_other_factors_of_the_same_sizes() -> None:
    rng = np.random.default_rng(9)
    workspace = None
    for batch in (20, 3, 11):
        call = random_call(rng, (33, 44, 17), batch)
        factors = PackedFactors(call.U, call.V)
        workspace = workspace or Workspace(factors, batch)
        call.check(low_rank_forward(call.x, factors, None, call.ranks, workspace=workspace))


def test_calls_without_a_workspace_share_spare_ones() -> None:
    rng = np.random.default_rng(10)
    call = random_call(rng, (33, 44, 17), 20)
    factors = PackedFactors(call.U, call.V)
    for batch in (3, 20, 5):
        part = replace(call, x=call.x[:batch], ranks=call.ranks[:batch])
        part.check(low_rank_forward(part.x, factors, None, part.ranks))
    (spare,) = factors.spare
    assert spare.batch == 20
    low_rank_forward(call.x, factors, None, call.ranks, workspace=Workspace(factors, 20))
    assert factors.spare == [spare]


def test_copies_have_memory_of_their_own() -> None:
    call = random_call(np.random.default_rng(11), (33, 44, 17), 20)
    workspace = Workspace(PackedFactors(call.U, call.V), 20)
    expected = low_rank_forward(call.x, workspace.factors, None, call.ranks, workspace=workspace)
    factors, other = copy.deepcopy((workspace.factors, workspace))
    assert other.factors is factors
    del workspace
    found = low_rank_forward(call.x, factors, None, call.ranks, workspace=other)
    np.testing.assert_array_equal(found, expected)


FACTORS = PackedFactors(np.ones((4, 2)), np.ones((3, 2)))
X = np.ones((5, 3), np.float32)


@pytest.mark.parametrize(
    ("U", "V", "message"),
    [
        (np.ones(4), np.ones((3, 2)), "shape (4,)"),
        (np.ones((4, 0)), np.ones((3, 0)), "shape (4, 0)"),
        (np.ones((4, 2), complex), np.ones((3, 2)), "complex128"),
        (np.ones((4, 2)), np.ones((3, 1)), "U has 2 columns and V has 1"),
        (np.ones((4, 2)), None, "no input factor"),
        (PackedFactors(np.ones((4, 2)), np.ones((3, 2))), np.ones((3, 2)), "have an input factor"),
    ],
)
def test_factors_that_are_none(U: np.ndarray, V: np.ndarray | None, message: str) -> None:
    with refused(ConfigError, "ADL-KRN-01", message=message, remedy="(in, r_max)"):
        low_rank_forward(X, U, V, 1)


@pytest.mark.parametrize(
    ("arguments", "where", "message"),
    [
        ({"x": np.ones((5, 4), np.float32)}, "x", "(5, 4)"),
        ({"x": np.float32(1)}, "x", "()"),
        ({"x": np.ones((5, 3))}, "x", "float64"),
        ({"ranks": 1.5}, "ranks", "float64"),
        ({"ranks": np.ones(4, int)}, "ranks", "(4,)"),
        ({"scale": np.ones(3)}, "scale", "(3,)"),
        ({"bias": np.ones(2)}, "bias", "(2,)"),
        ({"out": np.empty((5, 3), np.float32)}, "out", "(5, 3)"),
        ({"out": np.empty((5, 4))}, "out", "float64"),
    ],
)
def test_arrays_that_do_not_fit(arguments: dict[str, object], where: str, message: str) -> None:
    given: dict[str, object] = {"x": X, "ranks": 1} | arguments
    with refused(ConfigError, "ADL-KRN-02", where=where, message=message, remedy="pass"):
        low_rank_forward(given.pop("x"), FACTORS, None, given.pop("ranks"), **given)  # type: ignore[arg-type]


def test_outputs_may_not_overwrite_inputs() -> None:
    memory = np.ones((5, 7), np.float32)
    x, out = memory[:, :3], memory[:, 2:6]
    for workspace in (None, Workspace(FACTORS, 5)):
        with refused(ConfigError, "ADL-KRN-02", where="out", message="overlap"):
            low_rank_forward(x, FACTORS, None, np.ones(5, int), out=out, workspace=workspace)


def test_outputs_that_cannot_be_written_are_refused() -> None:
    out = np.zeros((5, 4), np.float32)
    out.flags.writeable = False
    for workspace in (None, Workspace(FACTORS, 5)):
        with refused(ConfigError, "ADL-KRN-02", where="out", message="(5, 4)", remedy="pass"):
            low_rank_forward(X, FACTORS, None, np.ones(5, int), out=out, workspace=workspace)


def test_numbers_at_odd_addresses() -> None:
    memory = np.ones(4 * X.size + 1, np.uint8)
    x = memory[1:].view(np.float32).reshape(X.shape)
    x[:], out = X, np.empty((5, 4), np.float32)
    low_rank_forward(x, FACTORS, None, np.ones(5, int), out=out, workspace=Workspace(FACTORS, 5))
    np.testing.assert_array_equal(out, np.full((5, 4), 3))


@pytest.mark.parametrize("rank", [-1, 3])
@pytest.mark.parametrize("batch", [1, 60])
def test_a_rank_out_of_range(rank: int, batch: int) -> None:
    ranks = np.ones(batch, int)
    ranks[-1] = rank
    message = f"sample {batch - 1} has rank {rank}"
    with refused(ConfigError, "ADL-KRN-03", message=message, remedy="0 to 2"):
        low_rank_forward(np.ones((batch, 3), np.float32), FACTORS, None, ranks)
    workspace, out = Workspace(FACTORS, batch), np.empty((batch, 4), np.float32)
    with refused(ConfigError, "ADL-KRN-03", message=message, remedy="0 to 2"):
        low_rank_forward(
            np.ones((batch, 3), np.float32), FACTORS, None, ranks, out=out, workspace=workspace
        )


def test_a_workspace_that_does_not_fit() -> None:
    other = PackedFactors(np.ones((4, 1)), np.ones((3, 1)))
    with refused(ConfigError, "ADL-KRN-04", where="workspace", message="4 samples, x has 5"):
        low_rank_forward(X, FACTORS, None, 1, workspace=Workspace(FACTORS, 4))
    with refused(ConfigError, "ADL-KRN-04", where="workspace", message="(4, 3, 1)"):
        low_rank_forward(X, FACTORS, None, 1, workspace=Workspace(other, 5))
