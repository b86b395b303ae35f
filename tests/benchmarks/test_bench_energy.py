"""Our energies and latencies are SANA-FE's, and the silicon cases are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_energy import (
    NETWORKS,
    PARTS,
    RELATIVE_ERROR,
    Answer,
    agreement,
    ask_sanafe,
    estimate_share,
    estimated,
)
from energy_networks import EnergyCase, example_case, generated, pair_of_neurons, tutorial_case
from peers.environment import PeerUnavailableError
from silicon_cases import KEYWORD_J, comparisons

from mapping import load_target
from mapping.ir.network import Input

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sanafe.json").read_text())
CASES = {"example_snn": example_case, "tutorial_snn": tutorial_case}


def _case(name: str) -> EnergyCase:
    return CASES[name]() if name in CASES else generated(int(name.removeprefix("generated ")))


@pytest.mark.parametrize("name", GOLDEN)
def test_energy_and_latency_are_what_sanafe_once_said(name: str) -> None:
    said = GOLDEN[name]
    energy, _ = estimated(_case(name))
    assert said["peer"] == "sanafe 2.2.9"
    for part, components in PARTS.items():
        ours = sum(energy.component_j()[component] for component in components)
        assert ours == pytest.approx(said["part_j"][part], rel=RELATIVE_ERROR, abs=1e-30)
    np.testing.assert_allclose(energy.step_s, said["step_s"], rtol=1e-12)


def test_the_networks_that_were_compared_show_something() -> None:
    cases = [_case(name) for name in GOLDEN]
    assert len(cases) == NETWORKS + len(CASES)
    forms = {p.spec.form for case in cases for p in case.artifact.network.projections}
    assert forms == {"dense", "sparse", "conv"}
    assert any(
        p.spec.source == p.spec.target for c in cases for p in c.artifact.network.projections
    )
    assert sum(len(case.artifact.partitioned.cores) > 4 for case in cases) > 5
    assert sum(said["spikes"] > 50 for said in GOLDEN.values()) > 12
    biased = [
        p.bias_mantissa.any()
        for case in cases
        for p in case.artifact.network.populations
        if not isinstance(p, Input)
    ]
    assert any(biased)
    assert not all(biased)


@pytest.mark.parametrize("name", ["generated 4", "example_snn"])
def test_sanafe_itself_says_the_same(name: str) -> None:
    case = _case(name)
    try:
        answer = ask_sanafe(case)
    except PeerUnavailableError as error:
        pytest.skip(f"no environment for SANA-FE: {error}")
    assert agreement(case, answer).holds
    assert len(answer.spikes) == GOLDEN[name]["spikes"]


def test_a_difference_is_noticed() -> None:
    case = example_case()
    energy, spikes = estimated(case)
    part_j = {
        part: sum(energy.core_step_j[name].sum(axis=1) for name in components)
        for part, components in PARTS.items()
    }
    places = np.argwhere(spikes["out"])
    logged = np.stack([places[:, 0], np.zeros(len(places), int), places[:, 1]], axis=1)
    same = Answer(
        peer="made up", part_j=part_j, step_s=energy.step_s, spikes=logged, groups=["out"]
    )
    assert agreement(case, same).holds
    slower = replace(same, step_s=same.step_s * (1 + 1e-5))
    dearer = replace(same, part_j={**part_j, "soma": part_j["soma"] * (1 + 1e-5)})
    quiet = replace(same, spikes=same.spikes[1:])
    for other in (slower, dearer, quiet):
        assert not agreement(case, other).holds


def test_the_silicon_cases_tell_the_signed_error_at_every_activity() -> None:
    found = list(comparisons())
    keywords = [one for one in found if one.case == "keyword spotting"]
    assert {(one.target, one.activity) for one in keywords} == {
        (target, activity) for target in ("loihi1", "loihi1-fit") for activity in (0.05, 0.1, 0.2)
    }
    for one in found:
        assert one.low <= one.ours <= one.high
        assert one.error == one.ours / one.measured - 1
    energies = [one for one in keywords if one.metric == "dynamic energy"]
    assert {one.measured for one in energies} == {KEYWORD_J}
    assert all(one.error < 0 for one in energies)
    assert {one.activity for one in found if one.case == "two neurons"} == {0.025, 0.05, 0.1}


def test_an_estimate_is_timed_beside_its_simulation() -> None:
    row = estimate_share("pair", pair_of_neurons(load_target("loihi2")), 3, 4)
    assert row["ours"] > 0
    assert row["ratio_to_best_peer"] == row["ours"] / row["peers"]["simulation"]
