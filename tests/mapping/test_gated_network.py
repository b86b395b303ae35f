"""Every rule about relays, gates and gated projections, broken once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.errors import refused
from support.gate_options import optioned_network
from support.networks import changed

from mapping.errors import ConfigError
from mapping.ir.network import LowRank, Network, RankGate
from mapping.passes.realise_factors import realise_factors

Rule = tuple[str, dict[str, Any], str, str, str]
"""Element, what to change in it, then code, message and remedy of the refusal."""


def spelt_out(**options: Any) -> Network:
    """Relays, gate, scorer and trace as populations of their own."""
    return realise_factors(optioned_network(hidden=3, biased=True, **options))


AT_RELAY, AT_SOURCE = spelt_out(at="relay"), spelt_out(at="source")

RELAYS: dict[str, Rule] = {
    "no count of gates for a block": (
        "enc/relay",
        {"gates_needed": (0, 1)},
        "ADL-NET-03",
        "gates_needed (0, 1) is not one count for each of 3 blocks",
        "0 or more per block",
    ),
    "a negative count of gates": (
        "enc/relay",
        {"gates_needed": (0, -1, 2)},
        "ADL-NET-03",
        "(0, -1, 2)",
        "0 or more",
    ),
    "blocks that do not start at 0": (
        "enc/relay",
        {"block_bounds": (1, 2, 4, 6)},
        "ADL-NET-03",
        "(1, 2, 4, 6)",
        "start at 0",
    ),
    "an empty block": (
        "enc/relay",
        {"block_bounds": (0, 2, 2, 6)},
        "ADL-NET-03",
        "do not cut 6 relays",
        "increase",
    ),
    "a bias for other relays": (
        "enc/level-bias",
        {"bias": np.ones(3)},
        "ADL-NET-03",
        "bias has shape (3,), the population 2 compartments",
        "one bias per compartment",
    ),
    "a bias that is summed without end": (
        "enc/level-bias",
        {"sigma": True},
        "ADL-NET-03",
        "without end",
        "drop sigma or the bias",
    ),
    "a bias that is not finite": (
        "enc/scorer",
        {"bias": np.array([0.0, np.nan, 0.0])},
        "ADL-NET-05",
        "bias holds 1 NaN or infinite values, the first at (1,)",
        "repair the model",
    ),
}
GATES: dict[str, Rule] = {
    "no gate at all": (
        "enc/gate",
        {"bias": np.zeros(0), "cost": np.zeros(0)},
        "ADL-NET-03",
        "shape (0,) holds no compartment",
        "positive extents",
    ),
    "a cost too few": (
        "enc/gate",
        {"cost": np.ones(1)},
        "ADL-NET-03",
        "cost has shape (1,), the population 2 compartments",
        "one cost per compartment",
    ),
    "a level that costs nothing": (
        "enc/gate",
        {"cost": np.array([0.3, 0.0])},
        "ADL-NET-03",
        "costs nothing more",
        "every cost positive",
    ),
    "a cost that is not finite": (
        "enc/gate",
        {"cost": np.array([0.3, np.inf])},
        "ADL-NET-05",
        "cost holds 1",
        "repair",
    ),
    "a bias that is not finite": (
        "enc/gate",
        {"bias": np.array([np.nan, np.nan])},
        "ADL-NET-05",
        "bias holds 2",
        "repair",
    ),
    "a gain that grows": ("enc/gate", {"decay": 1.1}, "ADL-NET-03", "decay 1.1", "inside"),
    "a trace that alternates": (
        "enc/gate",
        {"trace_decay": -0.1},
        "ADL-NET-03",
        "trace_decay -0.1",
        "inside",
    ),
    "a trace threshold below 0": (
        "enc/gate",
        {"trace_threshold": -1.0},
        "ADL-NET-03",
        "trace_threshold -1.0",
        "≥ 0",
    ),
    "a trace threshold that is never reached": (
        "enc/gate",
        {"trace_threshold": np.inf},
        "ADL-NET-03",
        "trace_threshold inf",
        "finite",
    ),
}
PORTS: dict[str, Rule] = {
    "control of what has none": (
        "dec",
        {"port": "control", "weight": np.ones((3, 8))},
        "ADL-NET-07",
        "the control input of 'out', which has none",
        "target a relay or a gate",
    ),
    "control weights between 0 and 1": (
        "enc/gate → enc/relay",
        {"weight": np.full((6, 2), 0.5)},
        "ADL-NET-07",
        "other than 0 and 1",
        "scale what the source sends",
    ),
    "a source range that ends before it starts": (
        "enc/features",
        {"source_start": 2},
        "ADL-NET-07",
        "reads compartments 2:2 of the 6 of 'enc/relay'",
        "cut a part out",
    ),
    "a source range beyond the source": (
        "enc/features",
        {"source_stop": 7},
        "ADL-NET-07",
        "0:7 of the 6",
        "cut a part out",
    ),
    "a source range from below 0": (
        "enc/features",
        {"source_start": -1},
        "ADL-NET-07",
        "-1:2 of the 6",
        "cut a part out",
    ),
    "weights for more than the source range": (
        "enc/features",
        {"weight": np.ones((3, 6))},
        "ADL-NET-04",
        "weight has shape (3, 6), expected (3, 2)",
        "(3, 2)",
    ),
    "a negative rank of a product": (
        "dec",
        {"fused_rank": -1},
        "ADL-NET-07",
        "no product of rank -1",
        "or 0",
    ),
}
AT_THE_HOST: dict[str, Rule] = {
    "a gate that is unknown": (
        "enc/V",
        {"gate": "enc/gat"},
        "ADL-NET-07",
        "cannot be held back at the host by 'enc/gat'",
        "name a gate",
    ),
    "a gate that is a relay": (
        "enc/V",
        {"gate": "enc/scorer"},
        "ADL-NET-07",
        "by 'enc/scorer'",
        "name a gate",
    ),
    "one count for three blocks": (
        "enc/V",
        {"gates_needed": (1,)},
        "ADL-NET-07",
        "cannot be held back",
        "one count per block",
    ),
    "a source that is not the host": (
        "enc/U",
        {"gate": "enc/gate", "gates_needed": (1,)},
        "ADL-NET-07",
        "cannot be held back",
        "read the input population",
    ),
    "a target without blocks": (
        "enc/V",
        {"target": "hidden", "weight": np.ones((8, 12))},
        "ADL-NET-07",
        "cannot be held back",
        "target relays",
    ),
}


def assert_refused(network: Network, rule: Rule) -> None:
    """The change breaks a rule that holds without it, and the refusal names the element."""
    name, changes, code, message, remedy = rule
    with refused(ConfigError, code, message=message, remedy=remedy) as caught:
        changed(network, name, **changes)
    assert caught.value.where == name


@pytest.mark.parametrize("case", RELAYS)
def test_a_relay_that_cannot_be_is_refused(case: str) -> None:
    assert_refused(AT_RELAY, RELAYS[case])


@pytest.mark.parametrize("case", GATES)
def test_a_gate_that_cannot_be_is_refused(case: str) -> None:
    assert_refused(AT_RELAY, GATES[case])


@pytest.mark.parametrize("case", PORTS)
def test_a_projection_between_ports_that_do_not_fit_is_refused(case: str) -> None:
    assert_refused(AT_RELAY, PORTS[case])


@pytest.mark.parametrize("case", AT_THE_HOST)
def test_what_the_host_cannot_hold_back_is_refused(case: str) -> None:
    assert_refused(AT_SOURCE, AT_THE_HOST[case])


PAIRS: dict[str, Rule] = {
    "a weight for every feature but one": (
        "enc",
        {"weight": np.ones((2, 1))},
        "ADL-NET-04",
        "gate.weight has shape (2, 1), expected (2, 2)",
        "(2, 2)",
    ),
    "a gate too many": (
        "enc",
        {"weight": np.ones((3, 2))},
        "ADL-NET-04",
        "gate.weight has shape (3, 2), expected (2, 2)",
        "(2, 2)",
    ),
    "a bias too many": (
        "enc",
        {"bias": np.ones(3)},
        "ADL-NET-04",
        "gate.bias has shape (3,), expected (2,)",
        "(2,)",
    ),
    "a cost too few": (
        "enc",
        {"cost": np.ones(1)},
        "ADL-NET-04",
        "gate.cost has shape (1,), expected (2,)",
        "(2,)",
    ),
    "hidden weights for other features": (
        "enc",
        {"hidden_weight": np.ones((2, 6)), "hidden_bias": np.ones(2)},
        "ADL-NET-04",
        "gate.hidden_weight has shape (2, 6), expected (2, 2)",
        "(2, 2)",
    ),
    "hidden weights without biases": (
        "enc",
        {"hidden_weight": np.ones((3, 2))},
        "ADL-NET-04",
        "gate.hidden_weight has shape (3, 2), expected (0, 2)",
        "(0, 2)",
    ),
    "a weight that is not finite": (
        "enc",
        {"weight": np.array([[1.0, np.inf], [0.0, 0.0]])},
        "ADL-NET-05",
        "gate.weight holds 1 NaN or infinite values, the first at (0, 1)",
        "repair",
    ),
    "a hidden bias that is not finite": (
        "enc",
        {"hidden_weight": np.ones((2, 2)), "hidden_bias": np.array([0.0, np.nan])},
        "ADL-NET-05",
        "gate.hidden_bias holds 1",
        "repair",
    ),
    "a level that costs less": (
        "enc",
        {"cost": np.array([0.3, -0.1])},
        "ADL-NET-03",
        "costs nothing more",
        "every cost positive",
    ),
    "a gain that grows": ("enc", {"decay": 1.5}, "ADL-NET-03", "decay 1.5", "inside"),
    "a trace that grows": ("enc", {"trace_decay": 2}, "ADL-NET-03", "trace_decay 2.0", "inside"),
    "a trace threshold that is none": (
        "enc",
        {"trace_threshold": np.nan},
        "ADL-NET-03",
        "trace_threshold nan",
        "finite",
    ),
    "a place that holds nothing back": (
        "enc",
        {"at": "target"},
        "ADL-NET-03",
        "is gated at 'target'",
        'at="relay" or at="source"',
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_pair_with_a_gate_that_does_not_fit_is_refused(case: str) -> None:
    name, changes, *refusal = PAIRS[case]
    network = optioned_network()
    gate = replace(pair_of(network).gate, **changes)  # type: ignore[type-var]
    assert_refused(network, (name, {"gate": gate}, *refusal))  # type: ignore[arg-type]


def pair_of(network: Network) -> LowRank:
    """The gated pair of ``network``."""
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    return pair


def test_level_biases_are_one_row_per_step_between_levels() -> None:
    assert_refused(
        optioned_network(),
        (
            "enc",
            {"level_bias": np.ones((3, 8))},
            "ADL-NET-04",
            "level_bias has shape (3, 8), expected (2, 8)",
            "(2, 8)",
        ),
    )
    assert_refused(
        optioned_network(),
        (
            "enc",
            {"level_bias": np.full((2, 8), np.nan)},
            "ADL-NET-05",
            "level_bias holds 16",
            "repair",
        ),
    )


def test_a_gate_needs_a_level_to_switch() -> None:
    pair = pair_of(optioned_network())
    none = RankGate(weight=np.zeros((0, 6)), bias=np.zeros(0), cost=np.zeros(0))
    with refused(
        ConfigError, "ADL-NET-07", where="enc", message="only one level", remedy="add levels"
    ):
        changed(optioned_network(), "enc", gate=none, levels=(pair.rank,))


def test_only_what_the_host_sends_can_be_gated_at_its_source() -> None:
    network = optioned_network(at="source")
    pair = pair_of(network)
    second = replace(
        pair, name="second", source="hidden", target="out", U=np.ones((3, 6)), V=np.ones((8, 6))
    )
    with refused(
        ConfigError,
        "ADL-NET-07",
        where="second",
        message="not the input population",
        remedy='at="relay"',
    ):
        replace(network, projections=(*network.projections, second))


def test_changes_that_a_closed_relay_would_lose_are_refused() -> None:
    network = optioned_network(at="relay", changes=True)
    with refused(ConfigError, "ADL-NET-07", where="enc", message="would lose", remedy="sigma=True"):
        changed(network, "enc", sigma=False)


def test_a_sum_of_values_that_a_closing_relay_would_take_back_is_refused() -> None:
    network = optioned_network(at="relay")
    with refused(
        ConfigError, "ADL-NET-07", where="enc", message="take back the sum", remedy="drop sigma"
    ):
        changed(network, "enc", sigma=True)
