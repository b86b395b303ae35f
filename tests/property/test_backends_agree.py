from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from support.integer_networks import Case, cases, happenings
from support.recount import assert_counts_are_right

from mapping.semantics.int_net import run_integer_network
from simulators.chip.run import run_chip
from simulators.oracle import run_oracle
from simulators.trace import ExecutionTrace


def _run(case: Case, backend: str) -> ExecutionTrace:
    run = case.run()
    return run_chip(run) if backend == "chip" else run_oracle(run)


def _happenings(case: Case) -> set[str]:
    return happenings(
        case, run_integer_network(case.artifact.network, case.payloads, price=case.price)
    )


def test_the_random_networks_reach_every_corner_of_gates_and_relays() -> None:
    """Else agreement says little: by chance alone a gate changes in one network of twelve."""
    seen = Counter[str]()

    @settings(max_examples=400, derandomize=True, database=None, phases=[Phase.generate])
    @given(case=cases())
    def look(case: Case) -> None:
        seen.update(_happenings(case))

    look()
    at_least = {
        "a gate goes on": 50,
        "a gate goes off": 25,
        "a trace lets a gate change": 10,
        "a relay that sends opens or closes": 20,
        "the host lets through": 15,
        "the host holds back": 60,
        "the host moves a sum": 4,
        "sigma relays send": 40,
        "delta relays send": 40,
        "rectified relays send": 40,
        "a sum wraps": 4,
        "sparse": 30,
        "conv": 30,
        "delayed": 30,
        "several chips": 20,
        "an integrator": 10,
    }
    assert {what for what, least in at_least.items() if seen[what] < least} == set(), seen


def _assert_equal(case: Case) -> None:
    for what in _happenings(case):
        event(what)
    chip, oracle = _run(case, "chip"), _run(case, "oracle")
    for group in ("spikes", "u", "v"):
        for name, values in getattr(oracle, group).items():
            np.testing.assert_array_equal(getattr(chip, group)[name], values, f"{group} of {name}")


@settings(max_examples=150)
@given(case=cases())
def test_chip_simulator_equals_oracle(case: Case) -> None:
    _assert_equal(case)


@pytest.mark.slow
@settings(max_examples=2000)
@given(case=cases(steps=16))
def test_chip_simulator_equals_oracle_at_length(case: Case) -> None:
    _assert_equal(case)


@settings(max_examples=100)
@given(case=cases())
def test_counts_equal_an_independent_recount(case: Case) -> None:
    assert_counts_are_right(case, _run(case, "chip"))
