"""Spiking low-rank layers compute what the compiler's float network computes."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor

from adlrns_neuro.layers import (
    PairDynamics,
    RecurrentSpikingLowRankLayer,
    SpikingLowRankLayer,
)
from adlrns_neuro.layers.relayed_pair import PairRun, RelayedPair, later
from adlrns_neuro.models import LowRankSNN, SnnConfig
from adlrns_neuro.warnings import BudgetWarning
from mapping.errors import ConfigError
from mapping.ir.network import FloatArray, Input, Lif, LowRank, Network
from mapping.semantics.float_net import run_float_network

INPUTS, NEURONS, LEVELS, AGAIN = 9, 8, (2, 3, 6), (1, 4)
STEPS, BATCH = 12, 10
DYNAMICS = {
    "every step": PairDynamics(gate_decay=0.5),
    "triggered": PairDynamics(gate_decay=0.8, trace_decay=0.7, trace_threshold=1.5),
    "piling up": PairDynamics(gate_decay=0.5, relay_threshold=0.6, trace_threshold=0.5),
}
Layer = SpikingLowRankLayer | RecurrentSpikingLowRankLayer


def layer_of(dynamics: PairDynamics, hidden: int = 0, *, recurrent: bool = False) -> Layer:
    """Random weights that make everything spike, and gates that change their minds."""
    torch.manual_seed(5)
    layer: Layer
    if recurrent:
        layer = RecurrentSpikingLowRankLayer(
            INPUTS,
            NEURONS,
            levels=LEVELS,
            recurrent_levels=AGAIN,
            scorer_hidden=hidden,
            dynamics=dynamics,
            current_decay=0.5,
        )
    else:
        layer = SpikingLowRankLayer(
            INPUTS,
            NEURONS,
            levels=LEVELS,
            scorer_hidden=hidden,
            dynamics=dynamics,
            current_decay=0.5,
        )
    with torch.no_grad():
        for pair in pairs_of(layer):
            projection = pair.projection
            projection.U.mul_(2.0)
            projection.V.mul_(2.0)
            projection.gate.weight.copy_(torch.randn_like(projection.gate.weight) * 2)
            projection.gate.bias.copy_(torch.linspace(0.3, 0.8, len(projection.gate.bias)))
            projection.gate.cost.fill_(0.5)
            if projection.gate.hidden_bias is not None:
                projection.gate.hidden_bias.copy_(torch.rand(hidden))
    return layer.double().eval()


def pairs_of(layer: Layer) -> list[RelayedPair]:
    return [part for part in layer.modules() if isinstance(part, RelayedPair)]


def inputs(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (STEPS, BATCH, INPUTS), generator=generator).double()


def on_chip(
    layer: Layer, x: Tensor, price: float = 0.0, *, gated: bool = True
) -> dict[str, FloatArray]:
    """The compiler's float network with the layer's weights."""

    def pair(name: str, source: str, part: RelayedPair) -> LowRank:
        projection, dynamics = part.projection, part.dynamics
        gate = projection.gate.to_rank_gate(
            decay=dynamics.gate_decay,
            trace_decay=dynamics.trace_decay,
            trace_threshold=dynamics.trace_threshold,
            at=part.gate_at,
        )
        assert gate.delay == part.gate_delay
        return LowRank(
            name=name,
            source=source,
            target="out",
            U=projection.U.detach().numpy(),
            V=projection.V.detach().numpy(),
            levels=part.levels,
            relay_threshold=np.full(part.levels[-1], dynamics.relay_threshold),
            sigma=dynamics.relay_threshold > 0,
            delta=dynamics.relay_threshold > 0,
            gate=gate if gated else None,
        )

    sources = ["in", "out"]
    population = layer.population
    network = Network(
        name="layer",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(INPUTS,), payload_max=1, payload_scale=1.0),
            Lif(
                name="out",
                shape=(NEURONS,),
                current_decay=population.current_decay,
                voltage_decay=population.voltage_decay,
                threshold=population.threshold,
            ),
        ),
        projections=tuple(
            pair(f"pair{k}", sources[k], part) for k, part in enumerate(pairs_of(layer))
        ),
    )
    payloads = x.numpy().astype(np.int64).swapaxes(0, 1)
    return run_float_network(network, payloads, price=price)


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_gated_runs_equal_the_compilers_float_network(
    dynamics: PairDynamics, hidden: int, recurrent: bool, training: bool
) -> None:
    if recurrent and dynamics.relay_threshold:
        pytest.skip("the compiler holds back the host alone")
    layer = layer_of(dynamics, hidden, recurrent=recurrent).train(training)
    for price in (0.0, 0.9, 1e9):
        spikes, ranks = layer(inputs(), price=price)
        sent = on_chip(layer, inputs(), price)
        np.testing.assert_array_equal(spikes.detach().swapaxes(0, 1).numpy(), sent["out"])
        assert spikes.any()
        for number, pair in enumerate(pairs_of(layer)):
            own = ranks[number] if recurrent else ranks
            late = pair.gate_delay - (hidden > 0) - 1
            on = np.cumsum(sent[f"pair{number}/gate"], axis=1)[:, :-late]
            level = np.cumprod(on, axis=-1).sum(axis=-1).astype(int)
            np.testing.assert_array_equal(own[late:].T.numpy(), np.array(pair.levels)[level])
            assert (own[:late] == pair.levels[0]).all()
            if price == 0.9:
                assert len(own.unique()) > 1, "the gate should change its mind"
            if price == 1e9:
                assert (own == pair.levels[0]).all()


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
def test_fixed_runs_equal_the_compilers_float_network(
    dynamics: PairDynamics, recurrent: bool
) -> None:
    layer = layer_of(dynamics, recurrent=recurrent)
    top = (LEVELS[-1], AGAIN[-1]) if recurrent else (LEVELS[-1],)
    spikes = layer.at_rank(inputs(), *top)
    sent = on_chip(layer, inputs(), gated=False)
    np.testing.assert_array_equal(spikes.detach().swapaxes(0, 1).numpy(), sent["out"])


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
def test_all_levels_in_one_pass_equal_one_after_the_other(
    dynamics: PairDynamics, recurrent: bool
) -> None:
    layer = layer_of(dynamics, recurrent=recurrent)
    if recurrent:
        assert layer.levels == ((2, 1), (3, 4), (6, 4))
    every = layer.forward_levels(inputs())
    assert every.shape == (3, STEPS, BATCH, NEURONS)
    for spikes, level in zip(every, layer.levels, strict=True):
        ranks = level if isinstance(level, tuple) else (level,)
        assert torch.equal(spikes, layer.at_rank(inputs(), *ranks))
    assert not torch.equal(every[0], every[-1])


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_layer_is_the_hidden_population_of_the_classifier(threshold: float) -> None:
    config = SnnConfig(
        inputs=INPUTS,
        hidden=NEURONS,
        levels=LEVELS,
        steps=STEPS,
        coding="rate",
        payload_max=1,
        payload_scale=1.0,
        hidden_current_decay=0.5,
        relay_threshold=threshold,
    )
    layer = layer_of(PairDynamics(relay_threshold=threshold))
    assert isinstance(layer, SpikingLowRankLayer)
    model = LowRankSNN(config).double()
    model.input_projection.load_state_dict(layer.pair.projection.state_dict())
    x = inputs()
    padded = torch.cat([x, torch.zeros(model.latency, BATCH, INPUTS).double()])
    for rank in LEVELS:
        assert torch.equal(layer.at_rank(padded, rank), model(x, rank).hidden)
    if threshold:  # both gates then act at the source
        assert torch.equal(layer(padded, price=0.9)[0], model.forward_gated(x, 0.9)[0].hidden)


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
@pytest.mark.parametrize("hidden", [0, 3])
def test_a_run_step_by_step_equals_one_over_all_steps(dynamics: PairDynamics, hidden: int) -> None:
    (pair,) = pairs_of(layer_of(dynamics, hidden))
    x = inputs()
    currents, chosen = pair.gated_currents(x, 2, 0.9)
    run = PairRun(pair, x[0], 2, None, 0.9)
    stepped = [run.step(before) for before in later(x, 1)]
    torch.testing.assert_close(torch.stack([current for current, _ in stepped]), currents)
    assert torch.equal(torch.stack([level for _, level in stepped]), chosen)
    assert len(chosen.unique()) > 1


@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
def test_a_budget_limits_the_ranks_of_every_step(recurrent: bool) -> None:
    layer = layer_of(DYNAMICS["every step"], recurrent=recurrent)
    energies = np.zeros(3)
    for pair in pairs_of(layer):
        own = list(pair.projection.energies_mj.values())
        energies += np.array([*own, *own[-1:] * (3 - len(own))])
    spikes, ranks = layer(inputs(), budget=float(energies[1]) * 1.0001)
    top = ranks.amax(dim=(-2, -1)).tolist()
    assert top == ([3, 4] if recurrent else 3)
    assert spikes.any()
    with pytest.warns(BudgetWarning, match="the lowest"):
        _, ranks = layer(inputs(), budget=float(energies[0]) / 2)
    assert ranks.amax(dim=(-2, -1)).tolist() == ([2, 1] if recurrent else 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(inputs(), budget=float(energies[0]) / 2)


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
def test_gradients_reach_all_factors_and_the_input(dynamics: PairDynamics, recurrent: bool) -> None:
    layer = layer_of(dynamics, recurrent=recurrent).train()
    x = inputs().requires_grad_()
    spikes, _ = layer(x)
    (spikes * torch.linspace(0.5, 1.5, NEURONS)).sum().backward()
    for pair in pairs_of(layer):
        for factor in (pair.projection.U, pair.projection.V):
            assert factor.grad is not None
            assert factor.grad.abs().sum(dim=0).all(), "every rank should learn"
    assert x.grad is not None
    assert x.grad.any()
    copy.deepcopy(layer)  # fails while a state is kept in the autograd graph


@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
def test_the_state_dict_is_all_there_is(recurrent: bool) -> None:
    layer = layer_of(DYNAMICS["triggered"], 3, recurrent=recurrent)
    twin = layer_of(DYNAMICS["triggered"], 3, recurrent=recurrent)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    twin.load_state_dict(layer.state_dict())
    for ours, theirs in zip(layer(inputs()), twin(inputs()), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings(  # torch 2.13 while it traces any autograd function
    "ignore:.*should not be instantiated:DeprecationWarning"
)
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_autocast_and_compile(recurrent: bool, training: bool) -> None:
    layer = layer_of(DYNAMICS["triggered"], recurrent=recurrent).float().train(training)
    x = inputs()[:3].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spikes, ranks = layer(x)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert ranks.dtype == torch.int64
    compiled = torch.compile(layer, backend="eager")
    with torch.no_grad():
        for ours, theirs in zip(compiled(x), layer(x), strict=True):
            torch.testing.assert_close(ours, theirs)
    torch.compiler.reset()


def test_one_level_needs_no_gate() -> None:
    layer = SpikingLowRankLayer(INPUTS, NEURONS, levels=(4,)).double()
    spikes, ranks = layer(inputs())
    assert torch.equal(spikes, layer.at_rank(inputs(), 4))
    assert (ranks == 4).all()


def test_what_cannot_be_is_refused() -> None:
    layer = layer_of(DYNAMICS["every step"])
    again = layer_of(DYNAMICS["every step"], recurrent=True)
    with refused(ConfigError, "ADL-LAY-03", where="SpikingLowRankLayer.x", remedy="(steps, batch"):
        layer(inputs()[0])
    with refused(ConfigError, "ADL-LAY-03", where="RecurrentSpiking", remedy="in_features"):
        again.forward_levels(inputs()[..., :-1])
    with refused(ConfigError, "ADL-LAY-03", remedy="1 or more"):
        layer.at_rank(inputs()[:0], 2)
    with refused(ConfigError, "ADL-LAY-02", where="rank", remedy="(2, 3, 6)"):
        layer.at_rank(inputs(), 5)
    with refused(ConfigError, "ADL-LAY-02", where="rank", remedy="(1, 4)"):
        again.at_rank(inputs(), 2, 3)
    with refused(ConfigError, "ADL-LAY-04", where="budget", remedy="mJ or more"):
        layer(inputs(), budget=0.0)
    with refused(ConfigError, "ADL-BUD-03", where="price", remedy="0 or more"):
        again(inputs(), price=-1.0)
    with refused(ConfigError, "ADL-SNN-04", where="PairDynamics.gate_decay", remedy="0 to 1"):
        replace(PairDynamics(), gate_decay=1.5)
