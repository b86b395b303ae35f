"""The gated network in torch computes what the compiler's float network computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.evaluation import Examples
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.models import DenseSNN, LowRankSNN, SnnConfig
from adlrns_neuro.snn_trainer import TrainingConfig
from mapping.errors import ConfigError, UnsupportedModelError
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
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(3)
    with torch.no_grad():
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


def test_no_level_above_the_top_is_served() -> None:
    model, payloads = model_of(DIRECT), payloads_of(DIRECT)
    _, free = model.forward_gated(payloads, 0.0)
    capped, levels = model.forward_gated(payloads, 0.0, top=1)
    assert free.max() == 2
    assert torch.equal(levels, free.clamp(max=1))
    lowest, levels = model.forward_gated(payloads, 0.0, top=0)
    assert not levels.any()
    torch.testing.assert_close(lowest.hidden, model(payloads, rank=2).hidden)
    assert not torch.equal(capped.hidden, lowest.hidden)


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


def test_a_gate_is_fitted_to_the_gain_that_it_will_see() -> None:
    """With a leaky sum the gain at the last feature is weight times the leaky sum of features."""
    config = CONFIGS["rate, piling up"]
    model, payloads = model_of(config), payloads_of(config, 60)
    held_out = Examples(payloads=payloads, labels=torch.randint(0, 4, (60,)))
    training = TrainingConfig(open_at=2, logit_scale=1.0)
    fit_spiking_gate(model, held_out, training)
    gate = model.input_projection.gate
    counts = model.forward_levels(payloads, open_at=2).counts
    losses = [F.cross_entropy(c, held_out.labels, reduction="none") for c in counts]
    gains = torch.stack([losses[0] - losses[1], losses[1] - losses[2]], dim=1)
    first = model.gate_inputs(payloads)[0]
    last = config.steps + 1
    ages = torch.arange(last, -1, -1, dtype=torch.float64)
    seen = torch.einsum("t,tnf->nf", config.gate_decay**ages, first[: last + 1])
    error = (gate.gains(seen) - gains).square().mean(dim=0)
    assert (error < gains.var(dim=0, correction=0)).all()
    torch.testing.assert_close(gate.gains(seen).mean(dim=0), gains.mean(dim=0))


def test_one_level_leaves_nothing_to_choose() -> None:
    config = replace(DELTA, levels=(6,))
    model = LowRankSNN(config).double()
    payloads = payloads_of(config)
    trains, levels = model.forward_gated(payloads, 0.0)
    assert not levels.any()
    torch.testing.assert_close(trains.hidden, model(payloads).hidden)
    with refused(ConfigError, "ADL-NET-07", where="encoder", remedy="drop the gate"):
        export_network(model, name="n", dt_s=1e-3, gated=True)


def test_no_samples_give_no_spikes() -> None:
    model, nothing = model_of(DELTA), payloads_of(DELTA, 0)
    assert model.forward_levels(nothing).counts.shape == (3, 0, 4)
    assert model.forward_gated(nothing, 0.0)[1].shape == (DELTA.steps + 3, 0)


@pytest.mark.parametrize("first", [-1.0, 17.0])
def test_changes_that_leave_the_range_of_the_signal_are_refused(first: float) -> None:
    payloads = torch.zeros(DELTA.steps, 1, DELTA.inputs)
    payloads[0, 0, 0] = first
    with refused(ConfigError, "ADL-SNN-02", where="payloads", message="add up"):
        model_of(DELTA).forward_gated(payloads, 0.0)


@pytest.mark.parametrize("price", [-1.0, float("nan")])
def test_what_is_no_price_is_refused(price: float) -> None:
    with refused(ConfigError, "ADL-BUD-03", where="forward_gated"):
        model_of(DELTA).forward_gated(payloads_of(DELTA), price)


def test_a_gate_is_not_fitted_to_blocks_that_open_too_late_or_unknown_classes() -> None:
    model, payloads = model_of(DELTA), payloads_of(DELTA)
    labels = torch.zeros(12, dtype=torch.int64)
    with refused(ConfigError, "ADL-TRN-04", where="TrainingConfig.open_at", remedy="0 to 6"):
        fit_spiking_gate(
            model, Examples(payloads=payloads, labels=labels), TrainingConfig(open_at=7)
        )
    with refused(ConfigError, "ADL-TRN-03", where="held_out.labels"):
        fit_spiking_gate(
            model, Examples(payloads=payloads, labels=labels + 4), TrainingConfig(open_at=3)
        )


def test_a_dense_model_has_no_gate_to_export() -> None:
    with refused(UnsupportedModelError, "ADL-EXP-02", where="n", remedy="gated=False"):
        export_network(DenseSNN(DIRECT), name="n", dt_s=1e-3, gated=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relay_threshold", -0.1),
        ("trace_threshold", float("inf")),
        ("steps", 0),
        ("gate_decay", 1.5),
        ("trace_decay", -1.0),
        ("trace_threshold", -1),
    ],
)
def test_constants_out_of_range_are_refused(name: str, value: float) -> None:
    with refused(ConfigError, "ADL-SNN-04", where=f"SnnConfig.{name}", remedy="choose"):
        replace(DIRECT, **{name: value})
