"""Populations and pairs refuse what is no number, by name, when they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.errors import refused

from mapping.errors import ConfigError
from mapping.ir.network import Gate, Input, Li, Lif, LowRank, RankGate, Relay

ONE = np.ones(1)
LIF = {"shape": (1,), "current_decay": 0.5, "voltage_decay": 0.9}
PAIR = {"source": "a", "target": "b", "U": np.ones((1, 1)), "V": np.ones((1, 1)), "levels": (1,)}
KINDS: dict[type, dict[str, Any]] = {
    Input: {"shape": (1,)},
    Lif: LIF | {"threshold": 1.0},
    Li: LIF,
    Relay: {"threshold": ONE, "block_bounds": (0, 1)},
    Gate: {"bias": ONE, "cost": ONE},
    LowRank: PAIR,
}
ARRAYS = [
    (Lif, "bias"),
    (Li, "bias"),
    (Relay, "threshold"),
    (Relay, "bias"),
    (Gate, "bias"),
    (Gate, "cost"),
    (LowRank, "U"),
    (LowRank, "V"),
    (LowRank, "relay_threshold"),
    (LowRank, "level_bias"),
]
SCALARS = [
    (Input, "shape", (1.5,), "integers"),
    (Input, "shape", 3, "integers"),
    (Input, "payload_max", 1.5, "an integer"),
    (Lif, "threshold", "high", "a real number"),
    (Lif, "current_decay", 1j, "a real number"),
    (Li, "voltage_decay", None, "a real number"),
    (Relay, "block_bounds", (0, "one"), "integers"),
    (LowRank, "levels", (1.0,), "integers"),
    (Gate, "decay", [0.5, 0.5], "a real number"),
]


@pytest.mark.parametrize(("kind", "field"), ARRAYS)
@pytest.mark.parametrize("given", [np.ones(1) * 1j, np.array(["a"]), [[1], [2, 3]]])
def test_arrays_of_anything_but_real_numbers(kind: type, field: str, given: Any) -> None:
    with refused(ConfigError, "ADL-NET-03", where="it", message=f"{field} cannot be read"):
        kind(name="it", **(KINDS[kind] | {field: given}))


@pytest.mark.parametrize(("kind", "field", "given", "wanted"), SCALARS)
def test_numbers_that_are_none(kind: type, field: str, given: Any, wanted: str) -> None:
    with refused(ConfigError, "ADL-NET-03", where="it", message=field, remedy=wanted):
        kind(name="it", **(KINDS[kind] | {field: given}))


def test_a_gate_of_a_pair_that_is_complex() -> None:
    with refused(ConfigError, "ADL-NET-03", where="RankGate", message="cost"):
        RankGate(weight=np.ones((1, 1)), bias=ONE, cost=ONE * 1j)


def test_a_size_does_not_wrap_around() -> None:
    assert Input(name="it", shape=(2**40, 2**40)).size == 2**80
