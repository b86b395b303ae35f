from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.errors import refused

from mapping.errors import ConfigError
from mapping.lowrank import RELATIVE_RIDGE, plain_svd, second_moment, whitened_svd

Matrix = NDArray[np.float64]


def draw_problem(seed: int, outputs: int, inputs: int) -> tuple[Matrix, Matrix]:
    """A random weight and the second moment of correlated, uneven inputs with one dead column."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs, inputs)) * np.geomspace(1.0, 1e-3, inputs)
    samples = rng.normal(size=(3 * inputs, inputs)) @ mixing.T + rng.normal(size=inputs)
    samples[:, 0] = 0.0
    return rng.normal(size=(outputs, inputs)), second_moment(samples)


def output_error(difference: Matrix, moment: Matrix) -> float:
    """E‖difference · x‖² for inputs with that second moment."""
    return float(np.trace(difference @ moment @ difference.T))


def plain_truncation(weight: Matrix, rank: int) -> Matrix:
    left, singular, right = np.linalg.svd(weight, full_matrices=False)
    return (left[:, :rank] * singular[:rank]) @ right[:rank]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 9), st.integers(2, 9), st.data())
def test_no_truncation_has_a_smaller_output_error(
    seed: int, outputs: int, inputs: int, data: st.DataObject
) -> None:
    weight, moment = draw_problem(seed, outputs, inputs)
    rank = data.draw(st.integers(1, min(outputs, inputs)))
    U, V = whitened_svd(weight, moment, rank)
    plain = weight - plain_truncation(weight, rank)
    # The ridge is optimised too, so it is what the whitened pair may lose on the bare moment.
    slack = RELATIVE_RIDGE * np.trace(moment) / inputs * np.sum(plain**2)
    scale = output_error(weight, moment)
    error = output_error(weight - U @ V.T, moment)
    assert error <= output_error(plain, moment) + slack + 1e-9 * scale


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(2, 9))
def test_full_rank_reproduces_the_weight(seed: int, outputs: int, inputs: int) -> None:
    weight, moment = draw_problem(seed, outputs, inputs)
    U, V = whitened_svd(weight, moment, min(outputs, inputs))
    np.testing.assert_allclose(U @ V.T, weight, atol=1e-8)


def test_whitening_beats_plain_truncation_clearly_on_uneven_inputs() -> None:
    weight, moment = draw_problem(0, 24, 24)
    U, V = whitened_svd(weight, moment, 4)
    plain = output_error(weight - plain_truncation(weight, 4), moment)
    assert output_error(weight - U @ V.T, moment) < 0.5 * plain


def test_a_prefix_of_the_factors_is_the_pair_of_that_rank() -> None:
    weight, moment = draw_problem(1, 12, 10)
    U, V = whitened_svd(weight, moment, 8)
    U_low, V_low = whitened_svd(weight, moment, 3)
    assert U.shape == (12, 8)
    assert V.shape == (10, 8)
    np.testing.assert_allclose(U[:, :3] @ V[:, :3].T, U_low @ V_low.T, atol=1e-12)


def test_columns_are_sorted_and_share_the_singular_value() -> None:
    weight, _ = draw_problem(2, 9, 7)
    U, V = whitened_svd(weight, np.eye(7), 7)
    singular = np.linalg.svd(weight, compute_uv=False)
    np.testing.assert_allclose(np.sum(U**2, axis=0), singular, rtol=1e-5)
    np.testing.assert_allclose(np.sum(V**2, axis=0), singular, rtol=1e-5)


def test_second_moment_is_not_centred() -> None:
    samples = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(second_moment(samples), [[5.0, 7.0], [7.0, 10.0]])


@pytest.mark.parametrize(
    ("weight", "moment", "rank", "code", "where", "remedy"),
    [
        (np.full((2, 2), np.nan), np.eye(2), 1, "ADL-LRK-01", "weight", "finite"),
        (np.eye(2), np.full((2, 2), np.inf), 1, "ADL-LRK-01", "second_moment", "finite"),
        (np.ones(3), np.eye(3), 1, "ADL-LRK-02", "weight", "two-dimensional"),
        (np.ones((2, 3)), np.eye(2), 1, "ADL-LRK-02", "second_moment", "(3, 3)"),
        (np.ones((2, 3)), np.eye(3), 3, "ADL-LRK-03", "rank", "from 1 to 2"),
        (np.ones((2, 3)), np.eye(3), 0, "ADL-LRK-03", "rank", "from 1 to 2"),
        (np.eye(2), np.zeros((2, 2)), 1, "ADL-LRK-04", "second_moment", "not all zero"),
        (
            np.eye(2),
            np.array([[1.0, 0.0], [1.0, 1.0]]),
            1,
            "ADL-LRK-04",
            "second_moment",
            "not all zero",
        ),
        (
            np.eye(2),
            np.array([[1.0, 2.0], [2.0, 1.0]]),
            1,
            "ADL-LRK-04",
            "second_moment",
            "not all zero",
        ),
    ],
)
def test_bad_input_is_refused(
    weight: Matrix, moment: Matrix, rank: int, code: str, where: str, remedy: str
) -> None:
    with refused(ConfigError, code, where=f"whitened_svd.{where}", remedy=remedy):
        whitened_svd(weight, moment, rank)


@pytest.mark.parametrize(
    ("samples", "code", "remedy"),
    [
        (np.zeros((0, 3)), "ADL-LRK-02", "at least one row"),
        (np.ones(3), "ADL-LRK-02", "two-dimensional"),
        (np.array([[1.0, np.nan]]), "ADL-LRK-01", "finite"),
    ],
)
def test_bad_samples_are_refused(samples: Matrix, code: str, remedy: str) -> None:
    with refused(ConfigError, code, where="second_moment.samples", remedy=remedy):
        second_moment(samples)


def test_the_plain_decomposition_is_the_whitened_one_of_white_inputs() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 5))
    plain, white = plain_svd(weight, 3), whitened_svd(weight, np.eye(5), 3)
    np.testing.assert_allclose(plain[0] @ plain[1].T, white[0] @ white[1].T, atol=1e-5)
    full = plain_svd(weight, 5)
    np.testing.assert_allclose(full[0] @ full[1].T, weight, atol=1e-12)
    np.testing.assert_allclose(full[0][:, :3], plain[0])


@pytest.mark.parametrize("rank", [0, 6])
def test_a_plain_rank_out_of_range_is_refused(rank: int) -> None:
    with refused(ConfigError, "ADL-LRK-03", where="plain_svd.rank", remedy="1 to 5"):
        plain_svd(np.ones((7, 5)), rank)


def test_a_plain_weight_that_is_no_finite_matrix_is_refused() -> None:
    with refused(ConfigError, "ADL-LRK-01", where="plain_svd.weight"):
        plain_svd(np.array([[np.nan]]), 1)
    with refused(ConfigError, "ADL-LRK-02", where="plain_svd.weight"):
        plain_svd(np.ones(3), 1)
