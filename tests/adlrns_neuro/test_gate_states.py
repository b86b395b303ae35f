from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adlrns_neuro.functional import gate_states, leading_gates
from mapping.ir.network import FloatArray, Input, Lif, LowRank, Network, RankGate
from mapping.semantics.float_net import run_float_network

LEVELS = (3, 5, 8, 9)
STEPS, SAMPLES, INPUTS, OUTPUTS = 12, 4, 6, 7


def gated_network(gate: RankGate, rng: np.random.Generator) -> Network:
    return Network(
        name="gated",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(INPUTS,), payload_max=3, payload_scale=0.5),
            Lif(name="out", shape=(OUTPUTS,), current_decay=0.5, voltage_decay=0.9, threshold=1.0),
        ),
        projections=(
            LowRank(
                name="enc",
                source="in",
                target="out",
                U=rng.normal(size=(OUTPUTS, LEVELS[-1])),
                V=rng.normal(size=(INPUTS, LEVELS[-1])),
                levels=LEVELS,
                gate=gate,
            ),
        ),
    )


def random_gate(
    rng: np.random.Generator, *, hidden: int, decay: float, trace_decay: float, threshold: float
) -> RankGate:
    steps, features = len(LEVELS) - 1, LEVELS[0]
    return RankGate(
        weight=rng.normal(size=(steps, hidden or features)),
        bias=rng.normal(0.5, 0.5, size=steps),
        cost=rng.uniform(0.1, 1.0, size=steps),
        decay=decay,
        trace_decay=trace_decay,
        trace_threshold=threshold,
        hidden_weight=rng.normal(size=(hidden, features)) if hidden else np.zeros((0, 0)),
        hidden_bias=rng.normal(0.5, 0.5, size=hidden),
    )


def late(values: FloatArray, steps: int) -> Tensor:
    """(samples, steps, ...) as (steps, samples, ...), arriving ``steps`` later."""
    moved = np.zeros_like(values.swapaxes(0, 1))
    moved[steps:] = values.swapaxes(0, 1)[:-steps]
    return torch.from_numpy(moved)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    hidden=st.sampled_from([0, 2, 5]),
    decay=st.sampled_from([0.0, 0.5, 1.0]),
    trace_decay=st.sampled_from([0.0, 0.75, 1.0]),
    threshold=st.sampled_from([0.0, 1.25, 4.0]),
    price=st.floats(0.0, 3.0),
)
def test_the_states_are_those_of_the_float_network(
    seed: int, hidden: int, decay: float, trace_decay: float, threshold: float, price: float
) -> None:
    rng = np.random.default_rng(seed)
    gate = random_gate(
        rng, hidden=hidden, decay=decay, trace_decay=trace_decay, threshold=threshold
    )
    payloads = rng.integers(0, 4, (SAMPLES, STEPS, INPUTS))
    sent = run_float_network(gated_network(gate, rng), payloads, price=price)

    on = gate_states(
        late(sent["enc/relay"][..., : LEVELS[0]], 2 if hidden else 1),
        torch.tensor(gate.weight),
        torch.tensor(gate.bias),
        torch.tensor(gate.cost),
        price,
        decay=decay,
        hidden_weight=torch.tensor(gate.hidden_weight) if hidden else None,
        hidden_bias=torch.tensor(gate.hidden_bias) if hidden else None,
        trace_input=late(payloads.sum(axis=-1) * 0.5, 2),
        trace_decay=trace_decay,
        trace_threshold=threshold,
    )

    expected = np.cumsum(sent["enc/gate"], axis=1).swapaxes(0, 1)
    np.testing.assert_array_equal(on.double().numpy(), expected)
    # A decision acts one step later: exactly the blocks below the level reached may send.
    active = np.array(LEVELS)[leading_gates(on).numpy()]
    sending = (sent["enc/relay"] != 0).swapaxes(0, 1)
    ranks = np.where(sending.any(-1), sending.shape[-1] - sending[..., ::-1].argmax(-1), 0)
    assert (ranks[1:] <= active[:-1]).all()
    busy = ranks[1:] > 0
    np.testing.assert_array_equal(ranks[1:][busy], active[:-1][busy])


def test_a_decision_is_held_between_events() -> None:
    features = torch.tensor([1.0, -1.0, -1.0, -1.0])[:, None, None]
    on = gate_states(
        features,
        torch.ones(1, 1),
        torch.zeros(1),
        torch.ones(1),
        0.5,
        decay=0.0,
        trace_input=torch.tensor([2.0, 0.5, 0.5, 0.5])[:, None],
        trace_decay=1.0,
        trace_threshold=1.0,
    )
    assert on.flatten().tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("on", "level"),
    [([0, 0, 0], 0), ([0, 1, 1], 0), ([1, 0, 1], 1), ([1, 1, 0], 2), ([1, 1, 1], 3)],
)
def test_a_gate_behind_a_closed_one_does_not_count(on: list[int], level: int) -> None:
    assert leading_gates(torch.tensor(on).bool()) == level
