"""Layers whose gates choose ranks on the way, against the equation in float64."""

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
from support.low_rank import BATCHES, WIDTHS, biases_of, factors_of

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, set_threads
from simulators.kernels.chain_layers import FullLayer, GatedLayer
from simulators.kernels.gated import GatedChain
from simulators.kernels.job import CALL_THREADS
from simulators.kernels.pool import WORKERS, available_threads, pool

CLOSE, ROUNDED_CLOSE = 1e-4, 0.05
"""Gates that are so near to their threshold may fall either way; where numbers are rounded too."""


def layer_of(
    rng: np.random.Generator,
    outputs: int,
    inputs: int,
    ranks: tuple[int, ...],
    *,
    biased: bool = True,
    by_level: bool = True,
    rectified: bool = False,
    bfloat16: bool = False,
) -> GatedLayer:
    """A layer whose gate decides differently from sample to sample."""
    further = len(ranks) - 1
    return GatedLayer(
        factors_of(rng, outputs, inputs, ranks[-1], bfloat16=bfloat16),
        ranks,
        rng.standard_normal((further, ranks[0])),
        rng.standard_normal(further) * 0.1,
        rng.uniform(0.5, 1.0, further),
        biases_of(rng, outputs, len(ranks), by_level=by_level) if biased else None,
        rectified,
    )


def check(
    chain: GatedChain,
    x: np.ndarray,
    prices: list[float],
    levels: list[int] | None = None,
    *,
    rounded: bool = False,
) -> np.ndarray:
    """Compare a call with the equation, layer after layer, at the ranks that it chose."""
    close, tolerance = (ROUNDED_CLOSE, 0.02) if rounded else (CLOSE, 1e-5)
    out, chosen = chain.forward(x, prices, levels=levels)
    value = x.astype(np.float64)
    for number, layer in enumerate(chain.layers):
        U, V = (factor.astype(np.float64) for factor in (layer.factors._U, layer.factors._V))
        between = value @ V
        margin = between[:, : layer.ranks[0]] @ layer.weight.T + layer.bias
        margin = margin - prices[number] * layer.cost
        count = len(layer.ranks) if levels is None else levels[number]
        on = (margin > 0)[:, : count - 1].cumprod(axis=1).sum(axis=1)
        ran = np.searchsorted(layer.ranks, chosen[number])
        clear = (np.abs(margin) > close * (1 + np.abs(value).max())).all(axis=1)
        np.testing.assert_array_equal(ran[clear], on[clear])
        within = np.arange(U.shape[1]) < chosen[number][:, None]
        value = (between * within) @ U.T
        if layer.level_bias is not None:
            value += layer.level_bias.cumsum(axis=0, dtype=np.float64)[ran]
        if layer.rectified:
            value = np.maximum(value, 0)
    if chain.head is not None:
        weight = chain.head.factors._U.astype(np.float64)
        value = value @ weight.T + chain.head.start[: len(weight)]
    scale = np.abs(value).max(initial=1e-3)
    np.testing.assert_allclose(out, value, rtol=10 * tolerance, atol=tolerance * scale)
    return chosen


@st.composite
def chains(draw: st.DrawFn) -> tuple[GatedChain, np.ndarray, list[float], list[int] | None]:
    """One to three layers of any width and ranks, with a head or without, and a call."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(WIDTHS)
    layers = []
    for inputs, outputs in pairwise(widths):
        most = min(48, 2 * min(inputs, outputs))
        ranks = draw(st.lists(st.integers(1, most), min_size=1, max_size=4, unique=True))
        names = ("biased", "by_level", "rectified")
        drawn = {name: draw(st.booleans()) for name in names}
        layers.append(layer_of(rng, outputs, inputs, tuple(sorted(ranks)), **drawn))
    head = None
    if draw(st.booleans()):
        classes = draw(st.integers(1, 40))
        head = FullLayer(rng.standard_normal((classes, widths[-1])), rng.standard_normal(classes))
    batch = draw(BATCHES)
    prices = [draw(st.sampled_from([0.0, 0.3, -1.0, 1e9])) for _ in layers]
    some = draw(st.booleans())
    levels = [draw(st.integers(1, len(layer.ranks))) for layer in layers] if some else None
    x = rng.standard_normal((batch, widths[0]), np.float32)
    chain = GatedChain(layers, batch + draw(st.integers(0, 9)), head)
    chain.at_once = draw(st.sampled_from([1, chain.at_once]))
    return chain, x, prices, levels


@given(chains())
def test_a_chain_computes_the_equation(
    case: tuple[GatedChain, np.ndarray, list[float], list[int] | None],
) -> None:
    check(*case)


@pytest.mark.parametrize("ranks", [(8, 16, 32, 64), (16, 17), (40, 90), (3, 33, 35, 64)])
@pytest.mark.parametrize("batch", [1, 7, 33, 150])
def test_first_blocks_of_any_width_are_not_computed_again(
    ranks: tuple[int, ...], batch: int
) -> None:
    """Blocks that end within a vector, with it, and beyond a whole panel."""
    rng = np.random.default_rng(batch)
    layers = [layer_of(rng, 200, 300, ranks, rectified=True), layer_of(rng, 90, 200, ranks)]
    chain = GatedChain(layers, batch)
    chosen = check(chain, rng.standard_normal((batch, 300), np.float32), [0.0, 0.0])
    if batch > 30:
        assert all(len(np.unique(row)) > 1 for row in chosen)


def test_larger_and_smaller_batches_follow_each_other() -> None:
    rng = np.random.default_rng(1)
    head = FullLayer(rng.standard_normal((5, 30)), rng.standard_normal(5))
    chain = GatedChain([layer_of(rng, 30, 20, (2, 5))], 50, head)
    for batch in (50, 3, 1, 50, 9):
        check(chain, rng.standard_normal((batch, 20), np.float32), [0.1])


@pytest.mark.usefixtures("threads_kept")
def test_two_threads_give_what_one_gives() -> None:
    rng = np.random.default_rng(2)
    layers = [layer_of(rng, 300, 700, (64, 100, 128), rectified=True) for _ in range(1)]
    chain, x = GatedChain(layers, 700), rng.standard_normal((700, 700), np.float32)
    set_threads(1)
    alone, chosen = chain.forward(x, [0.0])
    set_threads(2)
    for _ in range(3):
        shared, again = chain.forward(x, [0.0])
        np.testing.assert_allclose(shared, alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(again, chosen)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_spread_and_a_gate_that_reads_nan_is_off(value: float) -> None:
    rng = np.random.default_rng(3)
    head = FullLayer(rng.standard_normal((4, 30)), rng.standard_normal(4))
    chain = GatedChain([layer_of(rng, 30, 20, (2, 5), rectified=True)], 9, head)
    x = rng.standard_normal((9, 20), np.float32)
    right, ranks = chain.forward(x, [0.0])
    x[4, 7] = value
    found, chosen = chain.forward(x, [0.0])
    others = np.arange(9) != 4
    np.testing.assert_allclose(found[others], right[others], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(chosen[0, others], ranks[0, others])
    assert not np.isfinite(found[4]).all()
    if np.isnan(value):
        assert chosen[0, 4] == 2
        assert np.isnan(found[4]).all()


def test_rows_may_lie_apart_and_results_may_be_given() -> None:
    rng = np.random.default_rng(4)
    chain = GatedChain([layer_of(rng, 30, 20, (2, 5))], 9)
    wide, into = rng.standard_normal((9, 33), np.float32), np.zeros((9, 50), np.float32)
    chosen = np.zeros((1, 9), np.int64)
    found = chain.forward(wide[:, 5:25], [0.1], out=into[:, 10:40], chosen=chosen)
    assert found[1] is chosen
    right, ranks = chain.forward(wide[:, 5:25].copy(), [0.1])
    np.testing.assert_array_equal(into[:, 10:40], right)
    np.testing.assert_array_equal(chosen, ranks)
    assert not into[:, :10].any()
    assert not into[:, 40:].any()
    empty, none = chain.forward(wide[:0, :20], [0.1])
    assert empty.shape == (0, 30)
    assert none.shape == (1, 0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_stand_on_their_own(copied: Any) -> None:
    rng = np.random.default_rng(5)
    head = FullLayer(rng.standard_normal((4, 30)), rng.standard_normal(4))
    chain = GatedChain([layer_of(rng, 30, 20, (2, 5), rectified=True)], 9, head)
    x = rng.standard_normal((9, 20), np.float32)
    right = chain.forward(x, [0.1])[0].copy()
    twin = copied(chain)
    del chain
    np.testing.assert_array_equal(twin.forward(x, [0.1])[0], right)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ranks", {"ranks": (5, 2)}),
        ("ranks", {"ranks": (0, 2)}),
        ("ranks", {"ranks": (2, 6)}),
        ("ranks", {"ranks": ()}),
        ("weight", {"weight": np.zeros((2, 2))}),
        ("bias", {"bias": np.zeros(2)}),
        ("cost", {"cost": np.zeros((1, 1))}),
        ("level_bias", {"level_bias": np.zeros((2, 7))}),
    ],
)
def test_a_gate_that_does_not_fit_is_refused(name: str, change: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    arrays = {
        "ranks": (2, 5),
        "weight": np.zeros((1, 2)),
        "bias": np.zeros(1),
        "cost": np.ones(1),
    } | change
    with refused(ConfigError, "ADL-KRN-06", where=f"GatedLayer.{name}", remedy="pass"):
        GatedLayer(factors_of(rng, 30, 20, 5), **arrays)


def test_layers_that_do_not_follow_each_other_are_refused() -> None:
    rng = np.random.default_rng(7)
    first, second = layer_of(rng, 30, 20, (2, 5)), layer_of(rng, 10, 29, (2, 5))
    with refused(ConfigError, "ADL-KRN-06", where="GatedChain.layers", message="29 inputs"):
        GatedChain([first, second], 4)
    with refused(ConfigError, "ADL-KRN-06", where="GatedChain.layers", message="31 inputs"):
        GatedChain([first], 4, FullLayer(np.zeros((3, 31)), np.zeros(3)))
    with refused(ConfigError, "ADL-KRN-06", where="FullLayer.bias", remedy="(3,)"):
        FullLayer(np.zeros((3, 31)), np.zeros(4))


def test_calls_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(8)
    chain, x = GatedChain([layer_of(rng, 20, 20, (2, 5))], 4), np.zeros((4, 20), np.float32)
    locked = np.zeros((4, 20), np.float32)
    locked.flags.writeable = False
    for name, call in (
        ("x", {"x": x.astype(np.float64)}),
        ("x", {"x": x[:, :19]}),
        ("x", {"x": np.zeros((4, 40), np.float32)[:, ::2]}),
        ("out", {"out": np.zeros((4, 21), np.float32)}),
        ("out", {"out": x}),
        ("out", {"out": locked}),
        ("chosen", {"chosen": np.zeros((1, 4), np.int32)}),
        ("chosen", {"chosen": np.zeros((1, 8), np.int64)[:, ::2]}),
    ):
        with refused(ConfigError, "ADL-KRN-02", where=f"GatedChain.{name}", remedy="pass"):
            chain.forward(**({"x": x, "prices": [0.0]} | call))
    for levels in ([0], [3]):
        with refused(ConfigError, "ADL-KRN-03", where="GatedChain.levels", remedy="1 to 2"):
            chain.forward(x, [0.0], levels=levels)
    for name, call in (
        ("prices", {"prices": []}),
        ("prices", {"prices": [0.0, 0.0]}),
        ("levels", {"prices": [0.0], "levels": [1, 1]}),
    ):
        with refused(ConfigError, "ADL-KRN-02", where=f"GatedChain.{name}", remedy="one for each"):
            chain.forward(x, **call)
    with refused(ConfigError, "ADL-KRN-04", where="GatedChain.x", remedy="5 samples"):
        chain.forward(np.zeros((5, 20), np.float32), [0.0])
    two = GatedChain([layer_of(rng, 20, 20, (2, 5))] * 2, 4)
    apart = np.zeros((4, 4), np.int64)[::2]
    with refused(ConfigError, "ADL-KRN-02", where="GatedChain.chosen", message="apart"):
        two.forward(x, [0.0, 0.0], chosen=apart)


@pytest.mark.usefixtures("threads_kept")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [7, 8, 16, 45, 700])
@pytest.mark.parametrize("headed", [False, True])
def test_layers_that_may_round(threads: int, batch: int, headed: bool) -> None:
    """Levels at whole vectors, within one, and beyond a block; rectified and not."""
    set_threads(threads)
    rng = np.random.default_rng(batch)
    ranks = ((3, 20, 40), (16, 17, 33), (33, 36, 70))
    widths = (80, 75, 100, 90)
    layers = [
        layer_of(rng, m, n, own, rectified=number == 1, bfloat16=True)
        for number, ((n, m), own) in enumerate(zip(pairwise(widths), ranks, strict=True))
    ]
    weight, bias = rng.standard_normal((10, 90)) / 9, rng.standard_normal(10)
    head = FullLayer(weight, bias, bfloat16=True) if headed else None
    chain = GatedChain(layers, batch, head)
    x = rng.standard_normal((batch, 80), np.float32)
    chosen = check(chain, x, [0.1, 0.2, 0.1], rounded=True)
    if batch > 40:
        assert [len(np.unique(own)) for own in chosen[:2]] == [3, 2]
    again, _ = chain.forward(x, [0.1, 0.2, 0.1])
    np.testing.assert_array_equal(again, chain.forward(x, [0.1, 0.2, 0.1])[0])


def test_a_layer_that_cannot_be_rounded_runs_as_float32() -> None:
    rng = np.random.default_rng(0)
    layer = layer_of(rng, 40, 30, (4, 9), bfloat16=True)
    layer.factors._U[3, 8] = np.inf
    chain = GatedChain([layer], 20)
    x = rng.standard_normal((20, 30), np.float32)
    out, chosen = chain.forward(x, [0.1])
    assert np.isinf(out[chosen[0] == 9, 3]).all()
    assert np.isfinite(out[chosen[0] == 4]).all()
    assert set(chosen[0]) == {4, 9}


@pytest.mark.usefixtures("threads_kept")
def test_a_chain_may_be_bound_to_fewer_threads() -> None:
    chain = GatedChain([layer_of(np.random.default_rng(0), 40, 30, (4, 9))], 20)
    for all_may, this_may, most in ((1, 4, 1), (2, 4, 2), (2, 1, 1)):
        set_threads(all_may)
        chain.bound(this_may)
        assert chain.threads == min(most, available_threads())
    assert pool.threads == 2


@pytest.mark.usefixtures("threads_kept")
def test_no_more_threads_than_there_is_memory_for() -> None:
    set_threads(1)
    rng = np.random.default_rng(0)
    # Of whole numbers sums are exact, in whatever order threads and vectors add them up.
    U, V, weight = (rng.integers(-1, 2, shape) for shape in ((200, 90), (300, 90), (1, 40)))
    factors = PackedFactors(U, V, bfloat16=True)
    chain = GatedChain([GatedLayer(factors, (40, 90), weight, [0.5], [1.0])], 700)
    room = int(chain._workspaces[0].job[CALL_THREADS])
    x = rng.integers(-2, 3, (700, 300)).astype(np.float32)
    (right, chosen), before = chain.forward(x, [0.1]), int(pool.shared[WORKERS])
    set_threads(room + 5)
    np.testing.assert_array_equal(chain.forward(x, [0.1])[0], right)
    assert np.unique(chosen).tolist() == [40, 90]
    assert pool.shared[WORKERS] <= max(before, room - 1)
