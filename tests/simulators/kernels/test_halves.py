"""Calls whose inputs and outputs are bfloat16 already."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.low_rank import Call, calls, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, Workspace, set_threads
from simulators.kernels.halves import rounded_forward
from simulators.kernels.layout import rounded


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def run(call: Call, *, workspace: Workspace | None = None) -> np.ndarray:
    """The call's outputs as float32."""
    factors = PackedFactors(call.U, call.V, bfloat16=True)
    out = np.full((len(call.x), len(call.U)), 0xFFFF, np.uint16)
    room = Workspace(factors, len(call.x)) if workspace is None else workspace
    rounded_forward(
        rounded(call.x), factors, call.ranks, out, room, scale=call.scale, bias=call.bias
    )
    return widened(out)


@settings(max_examples=100)
@given(calls(), st.integers(1, 2))
def test_it_computes_the_equation(call: Call, threads: int) -> None:
    """Outputs are rounded too."""
    set_threads(threads)
    found = run(call)
    call.check(found, path="bfloat16", outputs_rounded=True)


def test_rows_of_any_stride_and_batches_below_the_room() -> None:
    call = random_call(np.random.default_rng(0), (40, 33, 20), 50, biased=True)
    factors = PackedFactors(call.U, call.V, bfloat16=True)
    room = Workspace(factors, 64)
    x, out = np.zeros((50, 80), np.uint16), np.zeros((50, 99), np.uint16)
    x[:, 3:36] = rounded(call.x)
    for _ in range(2):
        into = out[::-1, 5:45]
        rounded_forward(x[:, 3:36], factors, call.ranks, into, room, bias=call.bias)
        np.testing.assert_array_equal(widened(into), run(call))
    assert not out[:, :5].any()
    assert not out[:, 45:].any()


def test_nothing_is_left_of_an_earlier_call() -> None:
    call = random_call(np.random.default_rng(1), (700, 900, 100), 48)
    factors = PackedFactors(call.U, call.V, bfloat16=True)
    workspace, out = Workspace(factors, 48), np.empty((48, 700), np.uint16)
    set_threads(2)
    for ranks in (np.full(48, 100), np.where(np.arange(48) < 16, 100, 8), np.arange(48)):
        call.ranks[:] = ranks
        rounded_forward(rounded(call.x), factors, call.ranks, out, workspace)
        call.check(widened(out), path="bfloat16", outputs_rounded=True)


def test_no_sample() -> None:
    factors = PackedFactors(np.ones((4, 2)), np.ones((3, 2)), bfloat16=True)
    empty = np.empty((0, 3), np.uint16), np.empty(0, np.int64), np.empty((0, 4), np.uint16)
    rounded_forward(empty[0], factors, *empty[1:], Workspace(factors, 1))


def arguments() -> dict[str, object]:
    """Of a call that fits."""
    factors = PackedFactors(np.ones((4, 2)), np.ones((3, 2)), bfloat16=True)
    return {
        "x": np.zeros((5, 3), np.uint16),
        "factors": factors,
        "ranks": np.array([0, 1, 2, 0, 1]),
        "out": np.zeros((5, 4), np.uint16),
        "workspace": Workspace(factors, 5),
    }


def read_only(shape: tuple[int, int]) -> np.ndarray:
    """Outputs that cannot be written."""
    found = np.zeros(shape, np.uint16)
    found.flags.writeable = False
    return found


def workspace_of(outputs: int, batch: int) -> Workspace:
    """Of factors with 3 inputs and 2 ranks."""
    return Workspace(PackedFactors(np.ones((outputs, 2)), np.ones((3, 2)), bfloat16=True), batch)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"x": np.zeros((5, 4), np.uint16)}, "ADL-KRN-02", "shape (5, 4)"),
        ({"x": np.zeros((5, 3), np.float32)}, "ADL-KRN-02", "float32"),
        ({"x": np.zeros(15, np.uint16)}, "ADL-KRN-02", "shape (15,)"),
        ({"x": np.zeros((0, 3), np.uint16)}, "ADL-KRN-02", "shape (0, 3)"),
        ({"out": np.zeros((4, 4), np.uint16)}, "ADL-KRN-02", "shape (4, 4)"),
        ({"out": np.zeros((5, 4), np.int16)}, "ADL-KRN-02", "int16"),
        ({"out": read_only((5, 4))}, "ADL-KRN-02", "read-only"),
        ({"ranks": np.zeros(4, np.int64)}, "ADL-KRN-02", "shape (5, 3)"),
        ({"ranks": np.zeros(5, np.int32)}, "ADL-KRN-02", "int32"),
        ({"x": np.zeros((3, 5), np.uint16).T}, "ADL-KRN-02", "side by side"),
        ({"scale": np.ones(3)}, "ADL-KRN-02", "shape (3,)"),
        ({"bias": np.ones(3)}, "ADL-KRN-02", "shape (3,)"),
        ({"ranks": np.array([0, 1, 3, 0, 0])}, "ADL-KRN-03", "sample 2 has rank 3"),
        ({"ranks": np.array([0, -1, 2, 0, 0])}, "ADL-KRN-03", "sample 1 has rank -1"),
        ({"workspace": workspace_of(4, 4)}, "ADL-KRN-04", "room for 4"),
        ({"workspace": workspace_of(7, 5)}, "ADL-KRN-04", "(7, 3, 2)"),
        ({"factors": PackedFactors(np.ones((4, 2)), np.ones((3, 2)))}, "ADL-KRN-07", "allow"),
    ],
)
def test_arguments_that_do_not_fit(change: dict[str, object], code: str, message: str) -> None:
    given = arguments() | change
    with refused(ConfigError, code, where="rounded_forward.", message=message):
        rounded_forward(**given)  # type: ignore[arg-type]


def test_outputs_may_not_overwrite_inputs() -> None:
    given = arguments()
    factors = PackedFactors(np.ones((3, 2)), np.ones((3, 2)), bfloat16=True)
    x = np.zeros((5, 3), np.uint16)
    with refused(ConfigError, "ADL-KRN-02", message="overlap", remedy="of their own"):
        rounded_forward(x, factors, given["ranks"], x, Workspace(factors, 5))  # type: ignore[arg-type]
