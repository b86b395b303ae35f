"""Layers at given levels, against the equation in float64."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused
from support.low_rank import BATCHES, WIDTHS, leveled_layer

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, set_threads
from simulators.kernels.chain_call import part_of, parts_of
from simulators.kernels.chain_layers import FullLayer, LeveledLayer
from simulators.kernels.job import CALL_THREADS
from simulators.kernels.leveled import LeveledChain
from simulators.kernels.pool import WORKERS, pool
from simulators.kernels.vector import BLOCK_ROWS


def expected(
    chain: LeveledChain, x: np.ndarray, levels: np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    """What the equation says."""
    value = x.astype(np.float64)
    for number, layer in enumerate(chain.layers):
        U, V = (factor.astype(np.float64) for factor in (layer.factors._U, layer.factors._V))
        within = np.arange(U.shape[1]) < layer.ranks[levels][:, None]
        value = (value @ V * within) @ U.T
        if start is not None and number == 0:
            value += start
        elif layer.level_bias is not None:
            value += layer.level_bias.cumsum(axis=0, dtype=np.float64)[levels]
        if layer.rectified:
            value = np.maximum(value, 0)
    if chain.head is not None:
        weight = chain.head.factors._U.astype(np.float64)
        value = value @ weight.T + chain.head.start[: len(weight)]
    return value


Case = tuple[LeveledChain, np.ndarray, np.ndarray, np.ndarray | None]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One to three layers of any width and ranks, 0 included, with a head or without."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(WIDTHS)
    count = draw(st.integers(1, 4))
    layers = []
    for inputs, outputs in pairwise(widths):
        ranks = draw(st.lists(st.integers(0, 48), min_size=count, max_size=count, unique=True))
        how = {name: draw(st.booleans()) for name in ("biased", "by_level", "rectified")}
        layers.append(leveled_layer(rng, outputs, inputs, tuple(sorted(ranks)), **how))
    head = None
    if draw(st.booleans()):
        classes = draw(st.integers(1, 40))
        head = FullLayer(rng.standard_normal((classes, widths[-1])), rng.standard_normal(classes))
    batch = draw(BATCHES)
    x = rng.standard_normal((batch, widths[0]), np.float32)
    start = rng.standard_normal((batch, widths[1]), np.float32) if draw(st.booleans()) else None
    chain = LeveledChain(layers, batch + draw(st.integers(0, 9)), head)
    chain.at_once = draw(st.sampled_from([1, chain.at_once]))
    return chain, x, rng.integers(0, count, batch), start


@given(cases())
def test_a_chain_computes_the_equation(case: Case) -> None:
    chain, x, levels, start = case
    right = expected(chain, x, levels, start)
    found = chain.forward(x, levels, start=start)
    scale = np.abs(right).max(initial=1e-3)
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5 * scale)


def case_of(batch: int, *, bfloat16: bool = False) -> Case:
    """Two layers and a head, whose first layer may add nothing."""
    rng = np.random.default_rng(batch)
    layers = [
        leveled_layer(rng, 96, 300, (0, 8, 24, 56), bfloat16=bfloat16),
        leveled_layer(rng, 90, 96, (4, 8, 16, 40), bfloat16=bfloat16),
    ]
    weight, bias = rng.standard_normal((10, 90)) / 9, rng.standard_normal(10)
    chain = LeveledChain(layers, batch, FullLayer(weight, bias, bfloat16=bfloat16))
    x = rng.standard_normal((batch, 300), np.float32)
    start = rng.standard_normal((batch, 96), np.float32)
    return chain, x, rng.integers(0, 4, batch), start


@pytest.mark.usefixtures("threads_kept")
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("batch", [1, 8, 45, 700])
def test_threads_and_rounding(batch: int, bfloat16: bool) -> None:
    chain, x, levels, start = case_of(batch, bfloat16=bfloat16)
    right = expected(chain, x, levels, start)
    tolerance = 0.02 if bfloat16 else 1e-5
    for threads in (1, 2):
        set_threads(threads)
        found = chain.forward(x, levels, start=start)
        np.testing.assert_allclose(found, right, atol=tolerance * np.abs(right).max())
        lowest = np.zeros(batch, np.int64)
        found = chain.forward(x, lowest)
        right_there = expected(chain, x, lowest, None)
        np.testing.assert_allclose(found, right_there, atol=tolerance * np.abs(right_there).max())


@pytest.mark.usefixtures("threads_kept")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_nothing_is_left_of_an_earlier_call(bfloat16: bool) -> None:
    chain, x, _, start = case_of(48, bfloat16=bfloat16)
    set_threads(2)
    sixteen = np.where(np.arange(48) < 16, 3, 0)
    for levels in (np.full(48, 3), sixteen, 3 - sixteen, np.arange(48) % 4):
        right = expected(chain, x, levels, start)
        found = chain.forward(x, levels, start=start)
        tolerance = 0.02 if bfloat16 else 1e-5
        np.testing.assert_allclose(found, right, atol=tolerance * np.abs(right).max())


@pytest.mark.usefixtures("threads_kept")
def test_no_more_threads_than_there_is_memory_for() -> None:
    set_threads(1)
    chain, x, levels, start = case_of(700, bfloat16=True)
    room = min(int(workspace.job[CALL_THREADS]) for workspace in chain._workspaces)
    right, before = chain.forward(x, levels, start=start), int(pool.shared[WORKERS])
    set_threads(room + 5)
    np.testing.assert_array_equal(chain.forward(x, levels, start=start), right)
    assert pool.shared[WORKERS] <= max(before, room - 1)


def test_rows_may_lie_apart_and_results_may_be_given() -> None:
    chain, x, levels, start = case_of(20)
    right = chain.forward(x, levels, start=start)
    wide, starts, out = np.zeros((20, 310), np.float32), np.zeros((40, 96), np.float32), None
    wide[:, 5:305], starts[::2] = x, start
    out = np.zeros((20, 30), np.float32)
    given = chain.forward(wide[:, 5:305], levels, start=starts[::2], out=out[:, 7:17])
    np.testing.assert_array_equal(given, right)
    np.testing.assert_array_equal(out[:, 7:17], right)
    assert chain.forward(x[:0], levels[:0]).shape == (0, 10)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_stand_on_their_own(copied: Any) -> None:
    chain, x, levels, start = case_of(9)
    right = chain.forward(x, levels, start=start)
    twin = copied(chain)
    assert twin.address != chain.address
    np.testing.assert_array_equal(twin.forward(x, levels, start=start), right)


def test_calls_that_do_not_fit_are_refused() -> None:
    chain, x, levels, start = case_of(9)
    for change, code, message in (
        ({"x": x[:, :9]}, "ADL-KRN-02", "shape (9, 9)"),
        ({"x": x.astype(float)}, "ADL-KRN-02", "float64"),
        ({"levels": levels[:4]}, "ADL-KRN-02", "shape (4,)"),
        ({"levels": levels.astype(np.int32)}, "ADL-KRN-02", "int32"),
        ({"levels": np.repeat(levels, 2)[::2]}, "ADL-KRN-02", "side by side"),
        ({"start": start[:, :5]}, "ADL-KRN-02", "shape (9, 5)"),
        ({"out": np.zeros((9, 4), np.float32)}, "ADL-KRN-02", "shape (9, 4)"),
        ({"levels": np.full(9, 4)}, "ADL-KRN-03", "sample 0 has level 4"),
        ({"levels": np.arange(9) - 8}, "ADL-KRN-03", "sample 0 has level -8"),
        ({"x": np.zeros((10, 300), np.float32)}, "ADL-KRN-04", "room for 9"),
    ):
        arguments = {"x": x, "levels": levels, "start": start} | change
        with refused(ConfigError, code, where="LeveledChain", message=message):
            chain.forward(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [(), (-1, 2), (2, 2), (4, 2), (2, 50)])
def test_ranks_that_do_not_fit_are_refused(ranks: tuple[int, ...]) -> None:
    factors = PackedFactors(np.ones((5, 4)), np.ones((6, 4)))
    with refused(ConfigError, "ADL-KRN-06", where="LeveledLayer.ranks", remedy="from 0 to 4"):
        LeveledLayer(factors, ranks)
    with refused(ConfigError, "ADL-KRN-06", where="LeveledLayer.level_bias", remedy="(2, 5)"):
        LeveledLayer(factors, (0, 2), np.ones((2, 4)))


@pytest.mark.parametrize("batch", [1, 63, 64, 127, 128, 129, 577])
def test_parts_of_a_batch_are_whole_blocks_of_about_one_size(batch: int) -> None:
    parts = parts_of(batch, 64, 1)
    firsts, sizes = np.array([part_of(batch, parts, number) for number in range(parts)]).T
    assert parts == max(1, batch // 64)
    np.testing.assert_array_equal(firsts, [0, *sizes.cumsum()[:-1]])
    assert sizes.sum() == batch
    assert not (firsts % BLOCK_ROWS).any()
    assert sizes.min() > min(batch, 64) - BLOCK_ROWS
    assert sizes.max() < 128
    assert parts_of(batch, 64, 2) == 1, "threads share the layers of all"
    assert parts_of(batch, 1, 1) <= max(1, batch // BLOCK_ROWS), "none is empty"
