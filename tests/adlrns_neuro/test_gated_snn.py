"""The gated network in torch computes what the compiler's float network computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor

from adlrns_neuro.evaluation import Examples
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.models import LowRankSNN, SnnConfig
from adlrns_neuro.trainer import TrainingConfig
from mapping.errors import ConfigError
from mapping.ir.network import LowRank
from mapping.semantics.float_net import run_float_network

DIRECT = SnnConfig(inputs=9, hidden=8, classes=4, levels=(2, 3, 6), steps=7)
DELTA = replace(DIRECT, coding="delta", hidden_current_decay=0.9)
RATE = replace(DIRECT, coding="rate", payload_max=1, payload_scale=1.0, gate_decay=0.8)
CONFIGS = {
    "direct": replace(DIRECT, gate_decay=0.5),
    "direct, triggered": replace(DIRECT, trace_threshold=6.0, trace_decay=0.7),
    "delta": DELTA,
    "delta, triggered": replace(DELTA, trace_threshold=0.3),
    "delta, piling up": replace(DELTA, relay_threshold=0.2),
    "rate, piling up": replace(RATE, relay_threshold=0.4, trace_threshold=2.5),
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        yield


def model_of(config: SnnConfig) -> LowRankSNN:
    """Random weights that make everything spike, and a gate that changes its mind."""
    model = LowRankSNN(config).double()
    gate = model.input_projection.gate
    for weight in model.parameters():
        weight.mul_(2.5)
    gate.weight.copy_(torch.randn_like(gate.weight) * 2)
    gate.bias.copy_(torch.tensor([0.3, 0.8]))
    gate.cost.copy_(torch.tensor([0.5, 0.4]))
    return model


def payloads_of(config: SnnConfig, batch: int = 12) -> Tensor:
    shape = (config.steps, batch, config.inputs)
    signal = torch.randint(0, config.payload_max + 1, shape).double()
    if config.delta:
        signal = signal[torch.arange(config.steps) // 4 * 4]
        signal[1:] -= signal[:-1].clone()
    return signal


def on_chip(
    model: LowRankSNN, payloads: Tensor, price: float = 0.0, *, gated: bool = True
) -> dict[str, np.ndarray]:
    network = export_network(model, name="n", dt_s=1e-3, gated=gated)
    late = np.pad(payloads.numpy().astype(np.int64), ((0, model.latency), (0, 0), (0, 0)))
    return run_float_network(network, late.swapaxes(0, 1), price=price)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("price", [0.0, 0.9, 1e9])
def test_gated_runs_equal_the_compilers_float_network(config: SnnConfig, price: float) -> None:
    model, payloads = model_of(config), payloads_of(config)
    trains, levels = model.forward_gated(payloads, price)
    sent = on_chip(model, payloads, price)
    np.testing.assert_array_equal(trains.hidden.swapaxes(0, 1).numpy(), sent["hidden"])
    np.testing.assert_array_equal(trains.readout.swapaxes(0, 1).numpy(), sent["readout"])
    on = np.cumsum(sent["encoder/gate"], axis=1)[:, :-1]
    np.testing.assert_array_equal(levels[1:].T.numpy(), np.cumprod(on, axis=-1).sum(axis=-1))
    assert trains.hidden.any()
    if price == 1e9:
        assert not levels.any()
    if price == 0.9:
        assert len(levels.unique()) > 1, "the gate should change its mind"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_static_runs_equal_the_compilers_float_network(config: SnnConfig) -> None:
    model, payloads = model_of(config), payloads_of(config)
    trains, sent = model(payloads), on_chip(model, payloads, gated=False)
    np.testing.assert_array_equal(trains.hidden.swapaxes(0, 1).numpy(), sent["hidden"])
    every_level = model.forward_levels(payloads)
    torch.testing.assert_close(every_level.readout[-1], trains.readout)
    for level, rank in enumerate(config.levels):
        torch.testing.assert_close(every_level.hidden[level], model(payloads, rank).hidden)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_blocks_that_open_at_a_step_equal_gates_that_all_open_then(config: SnnConfig) -> None:
    model, payloads = model_of(replace(config, trace_threshold=0.0)), payloads_of(config)
    model.input_projection.gate.weight.zero_()
    gated, levels = model.forward_gated(payloads, 0.0)
    assert levels[0].max() == 0
    assert levels[1:].min() == 2
    torch.testing.assert_close(gated.hidden, model(payloads, open_at=1).hidden)
    never = model(payloads, open_at=config.steps)
    torch.testing.assert_close(never.hidden, model(payloads, rank=2).hidden)


def test_relays_that_pile_up_send_less_often_and_lose_nothing_but_the_rest() -> None:
    config = CONFIGS["rate, piling up"]
    model, payloads = model_of(config), payloads_of(config)
    piled = model(payloads).relayed
    model.config = replace(config, relay_threshold=0.0)
    at_once = model(payloads).relayed
    assert piled is not None
    assert at_once is not None
    assert (piled != 0).sum() < (at_once != 0).sum()
    assert (piled[piled != 0].abs() > config.relay_threshold).all()
    rest = at_once.sum(dim=0) - piled.sum(dim=0)
    assert rest.abs().max() <= config.relay_threshold + 1e-12


def test_an_ungated_export_has_no_gate() -> None:
    pair = export_network(model_of(DELTA), name="n", dt_s=1e-3).projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is None


def test_the_fitted_gate_opens_for_samples_that_gain_by_it() -> None:
    """Here the upper levels are right where a feature is high, the lowest where it is low."""
    model, payloads = model_of(DELTA), payloads_of(DELTA, 400)
    training = TrainingConfig(open_at=3)
    low, _, high = model.forward_levels(payloads, open_at=3).predictions
    feature = model.gate_inputs(payloads)[0].sum(dim=0)[:, 0]
    gains = feature > feature.median()
    held_out = Examples(payloads=payloads, labels=torch.where(gains, high, low))
    fit_spiking_gate(model, held_out, training)
    _, levels = model.forward_gated(payloads, 0.0)
    opened = (levels[-1] > 0).double()
    differs = low != high
    assert differs.sum() > 40
    assert opened[differs & gains].mean() > 2 * opened[differs & ~gains].mean()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relay_threshold", -0.1),
        ("gate_decay", 1.5),
        ("trace_decay", -1.0),
        ("trace_threshold", -1),
    ],
)
def test_constants_out_of_range_are_refused(name: str, value: float) -> None:
    with refused(ConfigError, "ADL-SNN-04", where=f"SnnConfig.{name}", remedy="from 0 to"):
        replace(DIRECT, **{name: value})
