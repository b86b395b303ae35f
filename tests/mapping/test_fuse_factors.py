from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    relay_network,
    small_network,
)

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Dense, FloatArray, LowRank, Network, RankGate
from mapping.ir.timing import pipeline_latency
from mapping.ir.traffic import Calibration
from mapping.passes.fuse_factors import FuseFactors
from mapping.passes.prune_ranks import PruneRanks
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.float_net import run_float_network
from mapping.targets.load import load_target

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def binary_network(**pair: Any) -> Network:
    """The README's network with binary input, no biases, and fields of the pair replaced."""
    network = digits_like_network(payload_max=1, biases=False)
    encoder, decoder = network.projections
    return replace(network, projections=(replace(encoder, **pair), decoder))


def chain(*, skip: bool = False, pairs: tuple[str, ...] = (), recurrent: bool = False) -> Network:
    """``in`` → ``p1`` → ``p2`` → ``out``; the projections named in ``pairs`` are low-rank."""
    network = dense_network((6, 5, 4, 3), recurrent=recurrent)
    projections: list[Dense | LowRank] = list(network.projections)  # type: ignore[arg-type]
    if skip:
        weight = np.full((4, 6), 0.3)
        projections.append(Dense(name="skip", source="in", target="p2", weight=weight))
    for place, dense in enumerate(projections):
        if dense.name in pairs:
            assert isinstance(dense, Dense)
            projections[place] = LowRank(
                name=dense.name,
                source=dense.source,
                target=dense.target,
                U=3 * dense.weight[:, :2],
                V=np.eye(dense.weight.shape[1])[:, :2],
                levels=(2,),
            )
    return replace(network, projections=tuple(projections))


def sent(network: Network, payloads: np.ndarray) -> dict[str, FloatArray]:
    """Spikes of a run with four silent steps at its end."""
    silence = np.zeros((len(payloads), 4, *payloads.shape[2:]), np.int64)
    return run_float_network(network, np.concatenate([payloads, silence], axis=1))


def assert_same_but_earlier(network: Network, fused: Network, steps: dict[str, int]) -> None:
    payloads = random_payloads(network)
    before, after = sent(network, payloads), sent(fused, payloads)
    for name, earlier in steps.items():
        length = before[name].shape[1] - earlier
        assert before[name].any(), name
        np.testing.assert_array_equal(after[name][:, :length], before[name][:, earlier:])


def test_a_pair_becomes_the_product_of_its_factors() -> None:
    network = binary_network()
    encoder, decoder = network.projections
    made = FuseFactors().run(network, LOIHI1)
    assert isinstance(encoder, LowRank)
    fused = made.projections[0]
    assert isinstance(fused, Dense)
    assert (fused.name, fused.layer, fused.source, fused.target) == ("enc", "enc", "in", "hidden")
    assert fused.fused_rank == 16
    np.testing.assert_allclose(fused.weight, encoder.U @ encoder.V.T)
    assert made.projections[1] is decoder
    assert made.populations == network.populations


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_it_computes_the_same_one_step_earlier(rank: int) -> None:
    network = PruneRanks(rank=rank).run(binary_network())
    made = FuseFactors().run(network, LOIHI1)
    assert_same_but_earlier(network, made, {"hidden": 1, "out": 1})
    assert pipeline_latency(network.graph(), "in", "out") == 3
    assert pipeline_latency(made.graph(), "in", "out") == 2


def test_level_biases_of_a_chosen_rank_act_as_before_the_fusion() -> None:
    bias = np.random.default_rng(1).normal(0, 0.2, (2, 64))
    network = binary_network(level_bias=bias)
    source, hidden, out = network.populations
    network = replace(network, populations=(source, replace(hidden, current_decay=0.0), out))
    made = FuseFactors().run(PruneRanks(rank=16).run(network), LOIHI1)
    assert_same_but_earlier(network, made, {"hidden": 1, "out": 1})


def test_several_pairs_add_up() -> None:
    network = chain(pairs=("w1", "w3"))
    made = FuseFactors().run(network, LOIHI1)
    assert_same_but_earlier(network, made, {"p1": 1, "p2": 1, "out": 2})


@pytest.mark.parametrize("pairs", [("w1",), ("w3",)])
def test_loops_without_pairs_stay_as_they_are(pairs: tuple[str, ...]) -> None:
    network = chain(pairs=pairs, recurrent=True)
    steps = {"p1": int("w1" in pairs), "p2": int("w1" in pairs), "out": 1}
    assert_same_but_earlier(network, FuseFactors().run(network, LOIHI1), steps)


def test_parallel_ways_that_stay_equally_long_are_fine() -> None:
    network = chain(skip=True, pairs=("w1", "skip"))
    made = FuseFactors().run(network, LOIHI1)
    assert_same_but_earlier(network, made, {"p1": 1, "p2": 1, "out": 1})


def test_a_chip_with_graded_spikes_keeps_everything() -> None:
    for network in (small_network(), relay_network(), binary_network(sigma=True)):
        assert FuseFactors().run(network, LOIHI2) is network


WRONG_TIMING = {
    "in a loop": (chain(pairs=("r1",), recurrent=True), "r1"),
    "around a loop": (chain(pairs=("r2",), recurrent=True), "r2"),
    "beside a full matrix": (chain(skip=True, pairs=("w1",)), "p2"),
    "beside another path": (chain(skip=True, pairs=("skip",)), "p2"),
}


@pytest.mark.parametrize("case", WRONG_TIMING)
def test_delays_that_no_longer_match_are_refused(case: str) -> None:
    network, name = WRONG_TIMING[case]
    with refused(
        UnsupportedModelError, "ADL-MDL-05", message="earlier", remedy="full matrices"
    ) as caught:
        FuseFactors().run(network, LOIHI1)
    assert name in str(caught.value)


def test_a_population_that_nothing_drives_has_no_time_to_give() -> None:
    """Its spikes come when they came before, but those of the pair come a step earlier."""
    network = chain(pairs=("w1",))
    driver = replace(network.population("out"), name="driver", shape=(1,), bias=np.ones(1))
    clock = Dense(name="clock", source="driver", target="p1", weight=np.ones((5, 1)))
    network = replace(
        network,
        populations=(*network.populations, driver),
        projections=(*network.projections, clock),
    )
    with refused(UnsupportedModelError, "ADL-MDL-05", where="clock"):
        FuseFactors().run(network, LOIHI1)


def _gate() -> RankGate:
    return RankGate(weight=np.ones((2, 4)), bias=np.zeros(2), cost=np.ones(2))


REFUSED_PAIRS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "gate": ({"gate": _gate()}, "ADL-MDL-03", "run time", "--rank R"),
    "level bias": ({"level_bias": np.ones((2, 64))}, "ADL-MDL-03", "run time", "[4, 8, 16]"),
    "sigma": ({"sigma": True}, "ADL-MDL-04", "sum over the steps", "plain relays"),
    "delta": ({"delta": True}, "ADL-MDL-04", "send changes alone", "plain relays"),
    "threshold": ({"relay_threshold": np.full(16, 0.1)}, "ADL-MDL-04", "below", "plain relays"),
}


@pytest.mark.parametrize("case", REFUSED_PAIRS)
def test_a_pair_that_a_matrix_cannot_stand_for_is_refused(case: str) -> None:
    fields, code, message, remedy = REFUSED_PAIRS[case]
    with refused(UnsupportedModelError, code, where="enc", message=message, remedy=remedy):
        FuseFactors().run(binary_network(**fields), LOIHI1)


@pytest.mark.parametrize(
    "fields", [{"payload_max": 16}, {"payload_min": -1}, {"delta": True}], ids=str
)
@pytest.mark.parametrize("network", [binary_network(), dense_network()], ids=lambda n: n.name)
def test_graded_input_is_refused(network: Network, fields: dict[str, Any]) -> None:
    source, *others = network.populations
    graded = replace(network, populations=(replace(source, **fields), *others))
    with refused(
        UnsupportedModelError, "ADL-MDL-01", where="in", message="loihi1", remedy="`latency`"
    ):
        FuseFactors().run(graded, LOIHI1)


def test_relays_spelt_out_by_hand_are_refused() -> None:
    with refused(UnsupportedModelError, "ADL-MDL-01", where="z", message="a relay sends"):
        FuseFactors().run(relay_network(), tiny_chip(graded_spikes=False))


def test_a_gated_model_compiles_for_loihi1_once_its_rank_is_chosen() -> None:
    network = binary_network(gate=_gate())
    with refused(UnsupportedModelError, "ADL-MDL-03", where="enc", remedy="--rank R"):
        compile_network(network, LOIHI1, CompileOptions())
    calibration = Calibration(payloads=random_payloads(network))
    result = compile_network(network, LOIHI1, CompileOptions(rank=8), calibration=calibration)
    report: Any = result.report
    shape = ("name", "kind", "in", "out", "rank", "realisation")
    assert [tuple(layer[key] for key in shape) for layer in report["network"]["layers"]] == [
        ("enc", "low_rank", 64, 64, 8, "fused"),
        ("dec", "dense", 64, 10, 10, "full"),
    ]
    assert report["network"]["latency_steps"] == 2
    assert report["cores"]["available"] == 128
    assert not any(p.spec.graded for p in result.artifact.network.projections)
    assert result.diagnostics == ()
