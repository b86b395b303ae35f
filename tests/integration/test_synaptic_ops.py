"""Experiments count the synaptic operations of a spiking network as the chip simulator does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from adlrns_neuro.data import code, load_digits_splits
from adlrns_neuro.export import export_network
from adlrns_neuro.models import DenseSNN, DenseSnnClassifier, LowRankSNN, RankedSnnClassifier
from adlrns_neuro.models.snn_config import SnnConfig
from adlrns_neuro.ranks import at_level
from mapping import Calibration, CompileOptions, compile_network, load_target
from mapping.ir.network import Network
from simulators import Stimulus, simulate

CONFIG = SnnConfig(hidden=32, levels=(2, 4, 8), steps=4)


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def payloads() -> Tensor:
    """Digits, samples first."""
    images = load_digits_splits(0).test.images[:40]
    return torch.from_numpy(code(images, CONFIG.steps, CONFIG.coding))


def on_chip(network: Network, rank: int | None = None, price: float = 0.0) -> float:
    """Synaptic operations of a sample."""
    values = payloads().numpy()
    options = CompileOptions(neurons_per_core=16, rank=rank)
    calibration = Calibration(payloads=values)
    program = compile_network(
        network, load_target("loihi2"), options, calibration=calibration
    ).artifact
    labels = np.zeros(len(values), dtype=np.int64)
    trace = simulate(program, Stimulus(payloads=values, labels=labels), price=price)
    return float(trace.counts_for(program).synaptic_op.sum()) / len(values)


def test_dense() -> None:
    model = DenseSnnClassifier(DenseSNN(CONFIG), 0.5)
    model(payloads())
    chip = on_chip(export_network(model.network, name="n", dt_s=1e-3))
    assert model.synaptic_ops == pytest.approx(chip, rel=0.01)


def test_at_a_rank_and_with_the_gate() -> None:
    model = RankedSnnClassifier(LowRankSNN(CONFIG), logit_scale=0.5, open_at=0)
    static = export_network(model.network, name="n", dt_s=1e-3)
    with at_level(model, 1):
        model(payloads())
    assert model.synaptic_ops == pytest.approx(on_chip(static, rank=4), rel=0.01)
    model.gate.weight.normal_()
    model.gate.price.fill_(0.5)
    model(payloads())
    assert model.served is not None
    assert 0.2 < float(model.served.double().mean()) < 1.8
    gated = export_network(model.network, name="n", dt_s=1e-3, gated=True)
    assert model.synaptic_ops == pytest.approx(on_chip(gated, price=0.5), rel=0.01)
