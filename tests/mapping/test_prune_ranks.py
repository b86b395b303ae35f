from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.networks import dense_network, digits_like_network, small_network

from mapping.errors import ConfigError
from mapping.ir.network import LowRank
from mapping.passes.prune_ranks import PruneRanks


def _pair(rank: float | None, relay_threshold: float = 0.0) -> LowRank:
    network = digits_like_network(relay_threshold=relay_threshold)
    pair = PruneRanks(rank=rank).run(network).projections[0]
    assert isinstance(pair, LowRank)
    return pair


@settings(max_examples=16)
@given(rank=st.integers(1, 16))
def test_pruning_keeps_the_leading_columns(rank: int) -> None:
    full, cut = _pair(None), _pair(rank)
    np.testing.assert_array_equal(cut.U, full.U[:, :rank])
    np.testing.assert_array_equal(cut.V, full.V[:, :rank])
    np.testing.assert_array_equal(cut.relay_threshold, full.relay_threshold[:rank])
    assert cut.rank == rank


@pytest.mark.parametrize(
    ("rank", "levels"),
    [(16, (4, 8, 16)), (8, (4, 8)), (6, (4, 6)), (4, (4,)), (3, (3,)), (1, (1,))],
)
def test_levels_beyond_the_rank_go_and_the_last_is_the_rank(
    rank: int, levels: tuple[int, ...]
) -> None:
    assert _pair(rank).levels == levels


@pytest.mark.parametrize(("fraction", "rank"), [(0.25, 16), (0.125, 8), (0.1, 6), (1 / 64, 1)])
def test_a_fraction_is_one_of_the_smaller_side(fraction: float, rank: int) -> None:
    assert _pair(fraction).rank == rank


def test_a_numpy_rank_is_as_good_as_a_python_one() -> None:
    assert _pair(np.int64(8)).rank == 8
    assert _pair(np.float64(0.125)).rank == 8


def test_dense_projections_stay_as_they_are() -> None:
    network = digits_like_network()
    assert PruneRanks(rank=4).run(network).projections[1] is network.projections[1]
    assert PruneRanks().run(network) is network


@pytest.mark.parametrize("rank", [0, -1, 17, 1.0, 0.001, 1.5, float("nan")])
def test_a_rank_that_a_layer_lacks_is_refused(rank: float) -> None:
    with refused(ConfigError, "ADL-CFG-02", where="enc", message="1..16", remedy="[4, 8, 16]"):
        PruneRanks(rank=rank).run(digits_like_network())


def test_a_rank_for_a_model_without_factors_is_refused() -> None:
    with refused(ConfigError, "ADL-CFG-03", where="chain", remedy="low-rank"):
        PruneRanks(rank=4).run(dense_network())


def test_every_pair_must_have_the_rank() -> None:
    network = small_network()
    enc = network.projections[0]
    narrow = LowRank(
        name="skip", source="in", target="out", U=np.ones((3, 2)), V=np.ones((12, 2)), levels=(2,)
    )
    both = replace(network, projections=(enc, narrow, network.projections[1]))
    assert [p.rank for p in PruneRanks(rank=2).run(both).projections[:2]] == [2, 2]
    with refused(ConfigError, "ADL-CFG-02", where="skip", message="1..2"):
        PruneRanks(rank=4).run(both)
