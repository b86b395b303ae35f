from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.networks import dense_network, digits_like_network, relay_network, small_network

from mapping.errors import ConfigError, UnsupportedModelError
from mapping.ir.network import Lif, LowRank, Network, RankGate, Relay
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


def test_a_model_without_factors_stays_as_it_is() -> None:
    network = dense_network()
    pruned = PruneRanks(rank=4).run(network)
    assert pruned.projections == network.projections
    assert pruned.populations == network.populations


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


BIASES = np.array([[1.0], [10.0]]) * np.linspace(0.5, 1.5, 64)


def gated_network(*, current_decay: float = 0.0, **pair: Any) -> Network:
    """The README's network with a gate, fields of the pair and the target's decay replaced."""
    network = digits_like_network()
    source, hidden, out = network.populations
    encoder, decoder = network.projections
    gate = RankGate(weight=np.ones((2, 4)), bias=np.zeros(2), cost=np.ones(2))
    return replace(
        network,
        populations=(source, replace(hidden, current_decay=current_decay), out),
        projections=(replace(encoder, **{"gate": gate, **pair}), decoder),
    )


def test_without_a_rank_a_gate_stays() -> None:
    network = gated_network(level_bias=BIASES)
    assert PruneRanks().run(network) is network


def test_a_chosen_rank_takes_the_place_of_the_gate() -> None:
    network = gated_network()
    pruned = PruneRanks(rank=8).run(network)
    pair = pruned.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is None
    assert (pair.rank, pair.levels) == (8, (4, 8))
    assert pruned.populations == network.populations


@pytest.mark.parametrize(("rank", "steps"), [(2, 0), (4, 0), (6, 0), (8, 1), (15, 1), (16, 2)])
@pytest.mark.parametrize("gate", [True, False])
def test_the_biases_of_the_levels_reached_join_the_targets_bias(
    rank: int, steps: int, gate: bool
) -> None:
    network = gated_network(level_bias=BIASES, **({} if gate else {"gate": None}))
    pruned = PruneRanks(rank=rank).run(network)
    pair, before, after = (
        pruned.projections[0],
        *(n.population("hidden") for n in (network, pruned)),
    )
    assert isinstance(pair, LowRank)
    assert pair.level_bias.size == 0
    assert isinstance(before, Lif)
    assert isinstance(after, Lif)
    np.testing.assert_allclose(after.bias, before.bias + BIASES[:steps].sum(axis=0))
    assert pruned.populations[2] is network.populations[2]


def test_biases_of_two_pairs_into_one_target_add_up() -> None:
    network = gated_network(level_bias=BIASES)
    encoder, decoder = network.projections
    both = replace(network, projections=(encoder, replace(encoder, name="twin"), decoder))
    after = PruneRanks(rank=8).run(both).population("hidden")
    before = network.population("hidden")
    assert isinstance(before, Lif)
    assert isinstance(after, Lif)
    np.testing.assert_allclose(after.bias, before.bias + 2 * BIASES[0])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"current_decay": 0.5}, "in its current"), ({"delta": True}, "only once")],
    ids=str,
)
def test_level_biases_that_are_no_bias_of_the_target_are_refused(
    fields: dict[str, Any], reason: str
) -> None:
    with refused(
        UnsupportedModelError, "ADL-MDL-02", where="enc", message=reason, remedy="without a rank"
    ):
        PruneRanks(rank=8).run(gated_network(level_bias=BIASES, **fields))


def test_level_biases_of_a_pair_into_relays_are_refused() -> None:
    network = relay_network()
    v, u = network.projections
    pair = LowRank(
        name="pair",
        source="in",
        target="z",
        U=np.ones((2, 2)),
        V=np.ones((6, 2)),
        levels=(1, 2),
        level_bias=np.ones((1, 2)),
    )
    assert isinstance(network.population("z"), Relay)
    with refused(UnsupportedModelError, "ADL-MDL-02", where="pair", message="z has no bias"):
        PruneRanks(rank=2).run(replace(network, projections=(v, pair, u)))
