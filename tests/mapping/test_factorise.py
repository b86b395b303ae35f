from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.networks import (
    changed,
    dense_network,
    digits_like_network,
    random_payloads,
    relay_network,
)
from support.spatial import spatial_network

from mapping.errors import ConfigError
from mapping.ir.network import Dense, LowRank, Network
from mapping.ir.traffic import Calibration
from mapping.passes.factorise import Factorise, Factorised, Factors, candidates
from mapping.passes.layer_cost import LayerCost, SourceActivity, source_activity
from mapping.semantics.float_net import run_float_network
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from mapping.units import with_prefix

LOIHI2, LOIHI1 = load_target("loihi2"), load_target("loihi1")


def factors_of(network: Network, calibration: Calibration | None = None) -> Factors:
    sources = {layer.source for layer in candidates(network).values()}
    return Factors(activity=source_activity(network, sources, calibration))


def busy(network: Network) -> Factors:
    """Every compartment spikes in every step, so that factor pairs pay."""
    return Factors(
        activity={
            p.name: SourceActivity(
                rates=np.ones(p.size), busy=1.0, moment=None, steps=0, status="measured"
            )
            for p in network.populations
        }
    )


def factorised(
    network: Network, rank: Any, *, chip: ChipSpec = LOIHI2, factors: Factors | None = None
) -> Factorised:
    made = Factorise(rank=rank, weight_bits=8)
    return made.run(network, chip, factors or busy(network))


def low_rank_chain(rank: int, seed: int = 0, *, skip: bool = False) -> Network:
    """A chain whose layers have exactly ``rank``, so that factoring loses nothing."""
    rng = np.random.default_rng(seed)
    network = dense_network((24, 20, 16, 12), seed=seed)
    for dense in network.projections:
        assert isinstance(dense, Dense)
        rows, columns = dense.weight.shape
        weight = rng.normal(0, 1.2, (rows, rank)) @ rng.normal(0, 0.4, (rank, columns))
        network = changed(network, dense.name, weight=weight)
    if skip:
        weight = rng.normal(0, 0.3, (16, 24))
        other = Dense(name="skip", source="in", target="p2", weight=weight)
        network = replace(network, projections=(*network.projections, other))
    return network


def choices(made: Factorised) -> dict[str, tuple[str, int]]:
    return {name: (choice.realisation, choice.rank) for name, choice in made.choices.items()}


def test_no_rank_changes_nothing() -> None:
    network = dense_network()
    made = Factorise(rank=None, weight_bits=8).run(network, LOIHI2, busy(network))
    assert made.network is network
    assert made.choices == {}


def test_dense_layers_become_factor_pairs_of_the_rank() -> None:
    network = low_rank_chain(3)
    made = factorised(network, 3)
    assert choices(made) == dict.fromkeys(("w1", "w2", "w3"), ("factored", 3))
    for before, after in zip(network.projections, made.network.projections, strict=True):
        assert isinstance(before, Dense)
        assert isinstance(after, LowRank)
        np.testing.assert_allclose(after.U @ after.V.T, before.weight, atol=1e-6)
        assert (after.source, after.target, after.levels) == (before.source, before.target, (3,))


def test_what_a_rank_leaves_out_is_told() -> None:
    network = low_rank_chain(3)
    whole, cut = factorised(network, 3), factorised(network, {"w1": 2})
    assert all(c.truncation_error < 1e-6 for c in whole.choices.values())
    (before,) = (p for p in network.projections if p.name == "w1")
    (after,) = (p for p in cut.network.projections if p.name == "w1")
    assert isinstance(before, Dense)
    assert isinstance(after, LowRank)
    lost = np.linalg.norm(before.weight - after.U @ after.V.T) / np.linalg.norm(before.weight)
    assert cut.choices["w1"].truncation_error == pytest.approx(lost)
    assert lost > 0.05
    assert cut.choices["w3"].truncation_error == 0.0


@pytest.mark.parametrize("skip", [False, True])
def test_at_the_true_rank_every_spike_comes_just_later(skip: bool) -> None:
    network = low_rank_chain(3, skip=skip)
    made = factorised(network, {"w1": 3, "w2": 3}).network
    payloads = random_payloads(network, steps=14)
    payloads = np.pad(payloads, ((0, 0), (0, 4), (0, 0)))
    before, after = run_float_network(network, payloads), run_float_network(made, payloads)
    for name, late in {"p1": 1, "p2": 2, "out": 2}.items():
        assert before[name].any(), name
        np.testing.assert_array_equal(after[name][:, late:], before[name][:, : 18 - late])
    skips = [p.delays for p in made.projections if isinstance(p, Dense) and p.name == "skip"]
    assert [d.tolist() for d in skips] == ([[2] * 24] if skip else [])


def test_own_delays_of_a_way_beside_add_up() -> None:
    network = changed(low_rank_chain(3, skip=True), "skip", delays=np.arange(24))
    made = factorised(network, {"w1": 3}).network
    (skip,) = (p for p in made.projections if isinstance(p, Dense) and p.name == "skip")
    np.testing.assert_array_equal(skip.delays, np.arange(24) + 1)


def test_a_way_beside_that_cannot_wait_keeps_a_layer_fused() -> None:
    network = changed(low_rank_chain(3, skip=True), "skip", delays=np.full(24, 63))
    made = factorised(network, 3)
    assert choices(made)["w1"] == ("fused", 3)
    assert "cannot be delayed" in made.choices["w1"].why
    assert choices(made)["w3"] == ("factored", 3)


def test_a_layer_in_a_loop_is_fused_and_those_around_it_are_not() -> None:
    network = dense_network((24, 20, 16), recurrent=True)
    made = factorised(network, 3)
    assert choices(made) == {"w1": ("factored", 3), "w2": ("factored", 3), "r1": ("fused", 3)}
    assert "recurrent loop" in made.choices["r1"].why
    fused = next(p for p in made.network.projections if p.name == "r1")
    assert isinstance(fused, Dense)
    assert fused.fused_rank == 3
    assert np.linalg.matrix_rank(fused.weight) == 3


def test_a_chip_without_graded_spikes_gets_the_product() -> None:
    made = factorised(low_rank_chain(3), 2, chip=LOIHI1)
    assert set(choices(made).values()) == {("fused", 2)}
    assert all("graded spikes" in choice.why for choice in made.choices.values())


def test_a_layer_with_delays_keeps_them() -> None:
    network = changed(low_rank_chain(3), "w1", delays=np.arange(24))
    made = factorised(network, 3)
    first = made.network.projections[0]
    assert isinstance(first, Dense)
    np.testing.assert_array_equal(first.delays, np.arange(24))
    assert "axonal delays" in made.choices["w1"].why


def test_the_cheaper_form_is_chosen_and_the_energies_are_told() -> None:
    network = low_rank_chain(3)
    quiet = factorised(network, 8, factors=factors_of(network))
    assert choices(quiet) == {"w1": ("full", 20), "w2": ("full", 16), "w3": ("full", 12)}
    loud = factorised(network, 3)
    assert set(choices(loud).values()) == {("factored", 3)}
    for made, cheaper in ((quiet, False), (loud, True)):
        for name in ("w1", "w2"):
            choice = made.choices[name]
            assert choice.full_j is not None
            assert choice.factored_j is not None
            assert (choice.factored_j < choice.full_j) == cheaper
            assert f"{with_prefix(choice.full_j, 'J')} as one matrix" in choice.why


@pytest.mark.parametrize(
    ("rank", "name", "reason"),
    [
        (12, "w3", "rank 12 is not below min(in, out) = 12"),
        (16, "w2", "rank 16 is not below min(in, out) = 16"),
        (11, "w1", "rank × (in + out) = 484 is not below in × out = 480"),
        (0.9, "w3", "rank × (in + out) = 308 is not below in × out = 192"),
    ],
)
def test_a_rank_that_saves_nothing_leaves_the_layer_full(
    rank: float, name: str, reason: str
) -> None:
    network = low_rank_chain(3)
    made = factorised(network, rank)
    assert made.choices[name].realisation == "full"
    assert made.choices[name].why == reason
    place = [p.name for p in network.projections].index(name)
    kept, given = made.network.projections[place], network.projections[place]
    assert isinstance(kept, Dense)
    assert isinstance(given, Dense)
    np.testing.assert_array_equal(kept.weight, given.weight)


@pytest.mark.parametrize(("fraction", "rank"), [(0.25, 5), (0.125, 2), (0.01, 1)])
def test_a_fraction_is_one_of_the_smaller_side(fraction: float, rank: int) -> None:
    assert factorised(low_rank_chain(3), fraction).choices["w1"].rank == rank


def test_ranks_by_layer_leave_the_others_and_what_is_dearer_full() -> None:
    network = low_rank_chain(3)
    assert choices(factorised(network, {"w2": 2})) == {
        "w1": ("full", 20),
        "w2": ("factored", 2),
        "w3": ("full", 12),
    }
    loop = dense_network((24, 20, 16), recurrent=True)
    for ranks in ({"r1": 3}, {"w1": 3}):
        kept = factorised(loop, ranks).choices["r1"]
        assert (kept.realisation, kept.rank) == ("full", 20)
        assert "recurrent loop" in kept.why


def test_a_model_with_trained_pairs_keeps_its_other_layers() -> None:
    network = digits_like_network()
    made = factorised(network, 4)
    assert made.network is network
    assert choices(made) == {"dec": ("full", 10)}
    assert "trained" in made.choices["dec"].why


def test_calibration_whitens_the_factors() -> None:
    """On inputs that live in few directions the pair keeps those, a plain SVD the loud weights."""
    network = dense_network((24, 20, 16))
    payloads = np.zeros((6, 20, 24), np.int64)
    payloads[:, :, :3] = np.random.default_rng(0).random((6, 20, 3)) < 0.4
    factors = factors_of(network, Calibration(payloads=payloads))
    layer = candidates(network)["w1"]
    whitened, plain = (f.of(layer, 3) for f in (factors, busy(network)))
    sent = payloads.reshape(-1, 24).astype(np.float64)
    errors = [np.linalg.norm(sent @ (layer.weight - u @ v.T).T) for u, v in (whitened, plain)]
    assert errors[0] < 1e-3 * errors[1]
    assert factors.whitening(layer) == "measured second moment"
    assert busy(network).whitening(layer) == "none"


def test_layers_that_cannot_be_of_low_rank_say_why() -> None:
    made = factorised(spatial_network(), 1)
    reasons = {name: choice.why for name, choice in made.choices.items()}
    kinds = {type(p).__name__: p.name for p in spatial_network().projections}
    assert "relays with the shape of an image" in reasons[kinds["Conv2d"]]
    assert "pooling" in reasons[kinds["SumPool2d"]]


def test_a_network_without_dense_layers_between_neurons_is_refused() -> None:
    network = relay_network()
    with refused(
        ConfigError, "ADL-CFG-03", where="by-hand", message="from spikes to neurons", remedy="rank"
    ):
        factorised(network, 1)


@pytest.mark.parametrize("rank", [0, -3, 0.0, 1.5, float("nan")])
def test_what_is_no_rank_is_refused(rank: float) -> None:
    with refused(ConfigError, "ADL-CFG-02", where="rank", message="positive integer"):
        factorised(low_rank_chain(3), rank)


def test_the_cost_of_the_report_is_that_of_the_layer() -> None:
    network = low_rank_chain(3)
    factors = factors_of(network)
    layer = candidates(network)["w1"]
    cost = LayerCost.of(layer, network, LOIHI2, factors.activity["in"], 8)
    choice = factorised(network, 2, factors=factors).choices["w1"]
    assert choice.full_j == pytest.approx(cost.full_j())
    assert choice.factored_j == pytest.approx(cost.factored_j(2))


def test_a_chip_of_small_cores_makes_pairs_pay_earlier() -> None:
    """Full rows spread over more cores, each of which gets every packet."""
    network = low_rank_chain(3)
    small = tiny_chip(synapse_words=40)
    factors = factors_of(network)
    layer = candidates(network)["w1"]
    gains = [
        cost.full_j() - cost.factored_j(2)
        for cost in (
            LayerCost.of(layer, network, chip, factors.activity["in"], 8)
            for chip in (LOIHI2, small)
        )
    ]
    assert gains[1] > gains[0]
