"""Chains whose level a gate chooses by the answer at the lowest one."""

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
from simulators.kernels.chain_layers import FullLayer, LeveledLayer
from simulators.kernels.job import CALL_THREADS
from simulators.kernels.pool import WORKERS, pool
from simulators.kernels.probed import AnswerGate, ProbedChain

NEAR = 1e-4
"""Gains this close to their price may be decided either way."""


def gate_of(rng: np.random.Generator, levels: int, top: int) -> AnswerGate:
    """A gate of which each level is likely."""
    weight = rng.standard_normal((levels - 1, top + 1))
    cost = rng.uniform(0.1, 1.0, levels - 1)
    return AnswerGate(weight, rng.uniform(0, 2, levels - 1), cost, rng.uniform(0, 1, levels))


def expected(chain: ProbedChain, x: np.ndarray, price: float) -> tuple[np.ndarray, ...]:
    """Answers at the levels of the equation, these, and which samples are decided clearly."""
    gate, layers = chain.gate, chain._given
    levels = len(gate.cost) + 1
    answers = np.stack([answer(layers, chain.head, x, level) for level in range(levels)])
    if chain.exit_head is not None:
        answers[0] = answer(layers[:1], chain.exit_head, x, 0)
    logs = answers[0] - np.logaddexp.reduce(answers[0], axis=1, keepdims=True)
    entropy = (np.exp(logs) * logs).sum(axis=1, keepdims=True)
    highest = -np.sort(-np.exp(logs), axis=1)[:, : gate.weight.shape[1] - 1]
    gains = np.concatenate([highest, entropy], axis=1) @ gate.weight.T + gate.bias
    over = gains - price * gate.cost
    chosen = np.logical_and.accumulate(over > 0, axis=1).sum(axis=1)
    right = answers[chosen, np.arange(len(x))]
    counts = np.where(chosen > 0, gate.probe_weights[chosen], 0)
    return right + counts[:, None] * answers[0], chosen, (np.abs(over) > NEAR).all(axis=1)


def answer(
    layers: tuple[LeveledLayer, ...], head: FullLayer | None, x: np.ndarray, level: int
) -> np.ndarray:
    """What layers and head make of samples at one level."""
    assert head is not None
    value = x.astype(np.float64)
    for layer in layers:
        rank = layer.ranks[level]
        value = value @ layer.factors._V[:, :rank] @ layer.factors._U[:, :rank].T
        if layer.level_bias is not None:
            value = value + layer.level_bias[: level + 1].sum(axis=0)
        if layer.rectified:
            value = np.maximum(value, 0)
    found: np.ndarray = value @ head.factors._U.T + head.start[: head.factors.outputs]
    return found


def check(chain: ProbedChain, x: np.ndarray, price: float, tolerance: float = 1e-5) -> np.ndarray:
    """Levels of a call that is as the equation says where decisions are clear."""
    right, levels, clear = expected(chain, x, price)
    found, chosen = chain.forward(x, price)
    if tolerance > 1e-4:  # Rounded answers decide otherwise now and then.
        clear = chosen == levels
        assert clear.mean() > 0.9
    np.testing.assert_array_equal(chosen[clear], levels[clear])
    within = tolerance * max(np.abs(right).max(), 1.0)  # Terms of about 1 may cancel out.
    np.testing.assert_allclose(found[clear], right[clear], atol=within, rtol=0)
    return chosen


@st.composite
def cases(draw: st.DrawFn) -> tuple[ProbedChain, np.ndarray, float]:
    """One to three layers of any width and ranks, and any number of classes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(WIDTHS)
    count = draw(st.integers(2, 4))
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        least = 1 if number == 0 else 0
        drawn = draw(st.lists(st.integers(least, 48), min_size=count, max_size=count, unique=True))
        how = {name: draw(st.booleans()) for name in ("biased", "by_level", "rectified")}
        layers.append(leveled_layer(rng, outputs, inputs, tuple(sorted(drawn)), **how))
    classes = draw(st.integers(1, 40))
    head = FullLayer(rng.standard_normal((classes, widths[-1])), rng.standard_normal(classes))
    gate = gate_of(rng, count, draw(st.integers(1, min(classes, 6))))
    leaves = None
    if draw(st.booleans()):
        matrix = rng.standard_normal((classes, widths[1])), rng.standard_normal(classes)
        leaves = FullLayer(*matrix)
    batch = draw(BATCHES)
    x = rng.standard_normal((batch, widths[0]), np.float32)
    chain = ProbedChain(layers, batch + draw(st.integers(0, 9)), head, gate, leaves)
    chain.at_once = draw(st.sampled_from([1, chain.at_once]))
    return chain, x, draw(st.sampled_from([0.0, 1.0, 1e9]))


@given(cases())
def test_a_chain_computes_the_equation(case: tuple[ProbedChain, np.ndarray, float]) -> None:
    chain, x, price = case
    chosen = check(chain, x, price)
    if price == 1e9:
        assert not chosen.any()


def case_of(
    batch: int, *, bfloat16: bool = False, leaves: bool = False
) -> tuple[ProbedChain, np.ndarray]:
    """Two layers and a head, whose gate chooses all levels."""
    rng = np.random.default_rng(5)
    layers = [
        leveled_layer(rng, 96, 300, (4, 8, 24, 56), bfloat16=bfloat16),
        leveled_layer(rng, 90, 96, (4, 8, 16, 40), bfloat16=bfloat16),
    ]
    weight, bias = rng.standard_normal((10, 90)) / 9, rng.standard_normal(10)
    head = FullLayer(weight, bias, bfloat16=bfloat16)
    one = rng.standard_normal((1, 6))
    x = rng.standard_normal((batch, 300), np.float32)
    even = AnswerGate(np.repeat(one, 3, 0), np.zeros(3), np.ones(3), (0, 0.5, 0.4, 0.6))
    samples, exit_head = rng.standard_normal((500, 300)), None
    start = answer(tuple(layers), head, samples, 0)
    if leaves:
        matrix = rng.standard_normal((10, 96)) / 9, rng.standard_normal(10)
        exit_head = FullLayer(*matrix, bfloat16=bfloat16)
        start = answer(tuple(layers[:1]), exit_head, samples, 0)
    logs = start - np.logaddexp.reduce(start, axis=1, keepdims=True)
    entropy = (np.exp(logs) * logs).sum(axis=1, keepdims=True)
    gains = np.concatenate([-np.sort(-np.exp(logs), axis=1)[:, :5], entropy], axis=1) @ one[0]
    even.bias[:] = -np.quantile(gains, (0.3, 0.6, 0.8))
    return ProbedChain(layers, batch, head, even, exit_head), x


@pytest.mark.usefixtures("threads_kept")
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("batch", [1, 8, 45, 700])
def test_threads_and_rounding(batch: int, leaves: bool, bfloat16: bool) -> None:
    chain, x = case_of(batch, bfloat16=bfloat16, leaves=leaves)
    for threads in (1, 2):
        set_threads(threads)
        chosen = check(chain, x, 0.0, 0.03 if bfloat16 else 1e-5)
        assert len(set(chosen)) == min(4, batch) or batch < 45


@pytest.mark.usefixtures("threads_kept")
@pytest.mark.parametrize("leaves", [False, True])
def test_nothing_is_left_of_an_earlier_call(leaves: bool) -> None:
    chain, x = case_of(48, leaves=leaves)
    set_threads(2)
    for samples, price in ((x, 0.0), (x[::-1].copy(), 0.5), (x[:17], -9.0), (x[::-1].copy(), -0.5)):
        check(chain, samples, price)


@pytest.mark.usefixtures("threads_kept")
def test_no_more_threads_than_there_is_memory_for() -> None:
    set_threads(1)
    chain, x = case_of(700, bfloat16=True)
    room = min(int(workspace.job[CALL_THREADS]) for workspace in chain._workspaces)
    right, before = chain.forward(x, 0.0), int(pool.shared[WORKERS])
    set_threads(room + 5)
    for found, known in zip(chain.forward(x, 0.0), right, strict=True):
        np.testing.assert_array_equal(found, known)
    assert pool.shared[WORKERS] <= max(before, room - 1)


def test_rows_may_lie_apart_and_results_may_be_given() -> None:
    chain, x = case_of(20)
    right, levels = chain.forward(x, 0.0)
    wide, out = np.zeros((20, 310), np.float32), np.zeros((20, 30), np.float32)
    wide[:, 5:305] = x
    chosen = np.zeros(20, np.int64)
    found = chain.forward(wide[:, 5:305], 0.0, out=out[:, 7:17], chosen=chosen)
    np.testing.assert_array_equal(found[0], right)
    np.testing.assert_array_equal(out[:, 7:17], right)
    np.testing.assert_array_equal(chosen, levels)
    assert chain.forward(x[:0], 0.0)[0].shape == (0, 10)


def test_nan_stays_in_its_sample_and_at_the_lowest_level() -> None:
    chain, x = case_of(20)
    right, levels = chain.forward(x, -1e9)
    assert (levels == 3).all()
    for value in (np.nan, np.inf):
        spoiled = x.copy()
        spoiled[7, 3] = value
        found, chosen = chain.forward(spoiled, -1e9)
        assert np.isnan(found[7]).all()
        assert chosen[7] == 0
        others = np.arange(20) != 7
        np.testing.assert_allclose(found[others], right[others], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_stand_on_their_own(copied: Any) -> None:
    chain, x = case_of(9, leaves=True)
    right, levels = chain.forward(x, 0.0)
    twin = copied(chain)
    assert twin.address != chain.address
    found, chosen = twin.forward(x, 0.0)
    np.testing.assert_array_equal(found, right)
    np.testing.assert_array_equal(chosen, levels)


def test_calls_that_do_not_fit_are_refused() -> None:
    chain, x = case_of(9)
    for change, code, message in (
        ({"x": x[:, :9]}, "ADL-KRN-02", "shape (9, 9)"),
        ({"x": x.astype(float)}, "ADL-KRN-02", "float64"),
        ({"out": np.zeros((9, 4), np.float32)}, "ADL-KRN-02", "shape (9, 4)"),
        ({"chosen": np.zeros(4, np.int64)}, "ADL-KRN-02", "shape (4,)"),
        ({"chosen": np.zeros(9, np.int32)}, "ADL-KRN-02", "int32"),
        ({"x": np.zeros((10, 300), np.float32)}, "ADL-KRN-04", "room for 9"),
    ):
        arguments = {"x": x, "price": 0.0} | change
        with refused(ConfigError, code, where="ProbedChain", message=message):
            chain.forward(**arguments)  # type: ignore[arg-type]


def test_parts_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    head = FullLayer(rng.standard_normal((3, 20)), np.zeros(3))
    layer = leveled_layer(rng, 20, 30, (2, 5))
    one_level, none = leveled_layer(rng, 20, 30, (2,)), leveled_layer(rng, 20, 30, (0, 5))
    for layers, gate in (
        ([layer], gate_of(rng, 3, 2)),
        ([layer], gate_of(rng, 2, 4)),
        ([layer, leveled_layer(rng, 20, 20, (1, 2, 3))], gate_of(rng, 2, 2)),
        ([one_level], AnswerGate(np.zeros((0, 3)), [], [], [0.0])),
        ([], gate_of(rng, 2, 2)),
    ):
        with refused(ConfigError, "ADL-KRN-06", where="ProbedChain.gate", remedy="as many levels"):
            ProbedChain(layers, 4, head, gate)
    with refused(ConfigError, "ADL-KRN-06", where="layers[0].ranks", message="(0, 5)"):
        ProbedChain([none], 4, head, gate_of(rng, 2, 2))
    for matrix in (np.zeros((3, 19)), np.zeros((4, 20))):
        leaves = FullLayer(matrix, np.zeros(len(matrix)))
        with refused(ConfigError, "ADL-KRN-06", where="exit_head", remedy="20 inputs and 3"):
            ProbedChain([layer], 4, head, gate_of(rng, 2, 2), leaves)
    with refused(ConfigError, "ADL-KRN-06", where="ProbedChain.layers", message="20 inputs"):
        ProbedChain([leveled_layer(rng, 19, 30, (2, 5))], 4, head, gate_of(rng, 2, 2))


@pytest.mark.parametrize("rank", [-1, 0, 5, 6])
def test_factors_that_cannot_be_split_are_refused(rank: int) -> None:
    factors = PackedFactors(np.ones((4, 5)), np.ones((3, 5)))
    with refused(ConfigError, "ADL-KRN-01", where="PackedFactors.split", remedy="one rank or more"):
        factors.split(rank)
    low, high = factors.split(2)
    assert (low.r_max, high.r_max) == (2, 3)
    assert factors.split(2)[1] is high


def test_gates_whose_arrays_are_replaced_stay_what_they_were() -> None:
    chain, x = case_of(50)
    right, levels = chain.forward(x, 0.0)
    chain.gate.bias = np.full(3, -1e9, np.float32)
    for _ in range(1000):
        np.full(3, 1e9, np.float32)  # Takes the place of what was freed.
    found, chosen = chain.forward(x, 0.0)
    np.testing.assert_array_equal(chosen, levels)
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("wrong", "value", "remedy"),
    [
        ("weight", np.zeros(6), "(K - 1, probabilities + 1)"),
        ("weight", np.zeros((3, 1)), "(K - 1, probabilities + 1)"),
        ("bias", np.zeros(2), "(3,)"),
        ("cost", np.zeros((3, 1)), "(3,)"),
        ("probe_weights", np.zeros(3), "(4,)"),
    ],
)
def test_gates_that_do_not_fit_are_refused(wrong: str, value: np.ndarray, remedy: str) -> None:
    fitting = {
        "weight": np.zeros((3, 6)),
        "bias": np.zeros(3),
        "cost": np.ones(3),
        "probe_weights": np.zeros(4),
    }
    with refused(ConfigError, "ADL-KRN-06", where=f"AnswerGate.{wrong}", remedy=remedy):
        AnswerGate(**fitting | {wrong: value})
