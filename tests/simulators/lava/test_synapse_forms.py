"""Lava agrees with the oracle for every form of synapses, axonal delays and leaky integrators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synapse_forms import DELAYS, synapse_cases

from simulators.lava.guard import run_guarded
from simulators.lava.run import run_lava
from simulators.oracle import run_oracle
from simulators.trace import ExecutionTrace

pytestmark = pytest.mark.lava

CASES = synapse_cases()


def assert_same(trace: ExecutionTrace, expected: ExecutionTrace) -> None:
    for group in ("spikes", "u", "v"):
        assert getattr(trace, group).keys() == getattr(expected, group).keys()
        for name, values in getattr(expected, group).items():
            np.testing.assert_array_equal(getattr(trace, group)[name], values, f"{group} of {name}")


@pytest.mark.parametrize("fuse", [False, True], ids=["core by core", "fused"])
@pytest.mark.parametrize("name", CASES)
def test_every_form_equals_the_oracle(name: str, fuse: bool) -> None:
    run = CASES[name].run(fuse=fuse)
    expected = run_oracle(run)
    assert_same(run_lava(run), expected)
    if name == "leaky integrators":
        assert expected.v["out"].max() == 2**23 - 1, "saturated, and yet no spike"
        assert not expected.spikes["out"].any()
    else:
        assert expected.spikes["out"].any()


def test_a_delay_line_before_a_dense_equals_the_stock_delay_dense() -> None:
    """Unless sums are shifted to the right: the stock one shifts each sending step's by itself."""
    rng = np.random.default_rng(1)
    found = run_guarded(
        "stock_jobs:delayed_sums",
        {
            "weights": 2 * rng.integers(-128, 128, (4, len(DELAYS))),
            "delays": np.array(DELAYS),
            "payloads": rng.integers(-9, 10, (len(DELAYS), 90)),
            "options": [
                {"weight_exp": 0},
                {"weight_exp": 5},
                {"weight_exp": 2, "num_message_bits": 24},
                {"weight_exp": -3, "num_message_bits": 24},
            ],
        },
        deadline_s=60.0,
        extra_sys_path=[str(Path(__file__).parent)],
    )
    assert isinstance(found, list)
    for own, stock in found[:3]:
        assert np.count_nonzero(own) > 200
        np.testing.assert_array_equal(own, stock)
    own, stock = found[3]
    assert (own != stock).any()
