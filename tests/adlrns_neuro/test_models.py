from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.errors import refused
from torch import Tensor

from adlrns_neuro.data import Coding
from adlrns_neuro.layers import SpikingPopulation
from adlrns_neuro.models import DenseSNN, LowRankSNN, SnnConfig, SpikeTrains
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError
from mapping.processors.load import load_processor

CONFIG = SnnConfig(inputs=12, hidden=11, classes=5, levels=(2, 4, 8), steps=6)
Array = NDArray[np.float64]


def random_payloads(batch: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (CONFIG.steps, batch, CONFIG.inputs)
    return torch.randint(0, CONFIG.payload_max + 1, shape, generator=generator).double()


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def low_rank_model() -> LowRankSNN:
    model = LowRankSNN(CONFIG).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)  # so that every level makes the readout spike
    return model


def array(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


class ChipPopulation:
    """One population of the chip, a step at a time."""

    def __init__(self, source: SpikingPopulation, batch: int) -> None:
        self.source = source
        self.u = np.zeros((batch, source.neurons))
        self.v = np.zeros((batch, source.neurons))

    def step(self, current: Array) -> Array:
        self.u = self.u * self.source.current_decay + current
        self.v = self.v * self.source.voltage_decay + self.u
        spikes = self.v > self.source.threshold
        self.v[spikes] = 0.0
        return spikes.astype(np.float64)


def run_on_chip(model: LowRankSNN, payloads: Array, rank: int) -> tuple[Array, Array]:
    """Step by step with one register behind every synapse matrix, as a mapped program runs."""
    U = array(model.input_projection.U)[:, :rank]
    V = array(model.input_projection.V)[:, :rank]
    W = array(model.output_projection.weight)
    steps, batch, _ = payloads.shape
    behind_v, behind_u = np.zeros((batch, rank)), np.zeros((batch, CONFIG.hidden))
    behind_w = np.zeros((batch, CONFIG.classes))
    hidden, readout = ChipPopulation(model.hidden, batch), ChipPopulation(model.readout, batch)
    trains: tuple[list[Array], list[Array]] = ([], [])
    for step in range(steps + 3):
        sent = payloads[step] if step < steps else np.zeros_like(payloads[0])
        relayed, hidden_current, readout_current = behind_v, behind_u, behind_w
        hidden_spikes = hidden.step(hidden_current)
        trains[0].append(hidden_spikes)
        trains[1].append(readout.step(readout_current))
        behind_v = sent * CONFIG.payload_scale @ V
        behind_u = relayed @ U.T
        behind_w = hidden_spikes @ W.T
    return np.stack(trains[0]), np.stack(trains[1])


@pytest.mark.parametrize("rank", CONFIG.levels)
def test_spikes_fall_in_the_same_steps_as_on_the_chip(rank: int) -> None:
    model, payloads = low_rank_model(), random_payloads()
    hidden, readout = run_on_chip(model, array(payloads), rank)
    trains = model(payloads, rank)
    np.testing.assert_array_equal(array(trains.hidden), hidden)
    np.testing.assert_array_equal(array(trains.readout), readout)
    assert hidden.sum() > 0
    assert readout.sum() > 0


def test_the_last_payload_still_reaches_the_readout() -> None:
    model = low_rank_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(10.0)
    payloads = torch.zeros(CONFIG.steps, 1, CONFIG.inputs, dtype=torch.float64)
    payloads[-1] = CONFIG.payload_max
    trains = model(payloads)
    assert trains.hidden.shape == (CONFIG.steps + model.latency, 1, CONFIG.hidden)
    assert trains.hidden.sum(dim=(1, 2)).nonzero().flatten().tolist() == [CONFIG.steps + 1]
    assert trains.readout.sum(dim=(1, 2)).nonzero().flatten().tolist() == [CONFIG.steps + 2]


def test_all_levels_at_once_equal_each_level_alone() -> None:
    model, payloads = low_rank_model(), random_payloads()
    together = model.forward_levels(payloads)
    assert together.readout.shape == (3, CONFIG.steps + 3, 9, CONFIG.classes)
    for index, rank in enumerate(CONFIG.levels):
        alone = model(payloads, rank)
        assert torch.equal(together.hidden[index], alone.hidden)
        assert torch.equal(together.readout[index], alone.readout)
        assert torch.equal(together.predictions[index], model.predict(payloads, rank))


def test_some_levels_at_once_equal_them_among_all() -> None:
    model, payloads = low_rank_model(), random_payloads()
    every, some = model.forward_levels(payloads), model.forward_levels(payloads, (2, 0))
    assert torch.equal(some.readout, every.readout[[2, 0]])
    assert torch.equal(some.hidden, every.hidden[[2, 0]])


def test_the_factors_of_a_dense_network_are_the_best_for_its_inputs() -> None:
    config = SnnConfig(inputs=12, hidden=11, classes=5, levels=(2, 11), steps=6)
    dense, payloads = DenseSNN(config), random_payloads().float()
    x = payloads.flatten(0, 1) * config.payload_scale
    estimator = PerfEstimator(load_processor("a100"))
    model = LowRankSNN.from_dense(dense, x.T @ x / len(x), perf_estimator=estimator)
    assert torch.equal(model.output_projection.weight, dense.output_projection.weight)
    layer = model.input_projection
    assert layer.energies_mj == estimator.energies_mj(12, 11, (2, 11))
    wanted = dense.input_projection(x)
    torch.testing.assert_close(layer.at_rank(x, 11), wanted, atol=1e-5, rtol=1e-4)
    best = torch.linalg.svdvals(wanted)[2:].square().sum().sqrt()
    torch.testing.assert_close((layer.at_rank(x, 2) - wanted).norm(), best, rtol=1e-3, atol=0.0)


def test_the_default_rank_is_the_largest() -> None:
    model, payloads = low_rank_model(), random_payloads()
    assert torch.equal(model(payloads).readout, model(payloads, 8).readout)


def test_ties_go_to_the_lowest_class() -> None:
    readout = torch.zeros(4, 2, 5)
    readout[:2, 0, 3] = 1.0
    readout[2:, 0, 1] = 1.0
    trains = SpikeTrains(hidden=torch.zeros(4, 2, 11), readout=readout)
    assert trains.counts[0].tolist() == [0.0, 2.0, 0.0, 2.0, 0.0]
    assert trains.predictions.tolist() == [1, 0]


def test_the_teacher_is_the_full_rank_network_one_step_earlier() -> None:
    config = SnnConfig(inputs=12, hidden=11, classes=5, levels=(2, 11), steps=6)
    student, teacher = LowRankSNN(config).double(), DenseSNN(config).double()
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(1.5)
        U, V = student.input_projection.U, student.input_projection.V
        teacher.input_projection.weight.copy_(U @ V.T)
        teacher.output_projection.weight.copy_(student.output_projection.weight)
    payloads = random_payloads()
    late, early = student(payloads), teacher(payloads)
    assert torch.equal(late.hidden[1:], early.hidden)
    assert torch.equal(late.readout[1:], early.readout)
    assert torch.equal(teacher.predict(payloads), student.predict(payloads))


def test_gradients_reach_every_weight_but_the_gates() -> None:
    model = low_rank_model()
    model.forward_levels(random_payloads()).counts.square().mean().backward()
    for weight in (w for name, w in model.named_parameters() if ".gate." not in name):
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert torch.count_nonzero(weight.grad) > 0


@pytest.mark.parametrize("shape", [(6, 12), (5, 2, 12), (6, 2, 13)])
def test_payloads_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with refused(ConfigError, "ADL-SNN-01", where="payloads", remedy="(6, n, 12)"):
        low_rank_model()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("payload", [-1.0, 17.0, 0.5, float("nan")])
def test_payloads_that_the_chip_cannot_send_are_refused(payload: float) -> None:
    payloads = random_payloads()
    payloads[0, 0, 0] = payload
    with refused(ConfigError, "ADL-SNN-02", where="payloads", remedy="payload_scale"):
        low_rank_model().forward_levels(payloads)


@pytest.mark.parametrize("coding", ["rate", "latency"])
def test_a_binary_coding_needs_binary_payloads(coding: Coding) -> None:
    assert SnnConfig(coding=coding, payload_max=1, payload_scale=1.0).coding == coding
    with refused(
        ConfigError, "ADL-SNN-03", where="payload_max", message=coding, remedy="payload_max=1"
    ):
        SnnConfig(coding=coding)


def test_a_coding_that_does_not_exist_is_refused() -> None:
    with refused(ConfigError, "ADL-COD-01", message="'burst'"):
        SnnConfig(coding="burst")  # type: ignore[arg-type]
