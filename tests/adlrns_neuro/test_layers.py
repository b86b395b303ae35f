from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.errors import refused

from adlrns_neuro.functional import snap_current_decay, snap_voltage_decay
from adlrns_neuro.layers import DynamicLowRankLayer, SpikingPopulation
from mapping.errors import ConfigError

Array = NDArray[np.float64]


def chip_rule(currents: Array, du: int, dv: int, threshold: float) -> tuple[Array, Array]:
    """The chip's neuron in plain NumPy: spikes, and v before the reset."""
    u = np.zeros(currents.shape[1:])
    v = np.zeros(currents.shape[1:])
    spikes, voltages = np.zeros_like(currents), np.zeros_like(currents)
    for step, a in enumerate(currents):
        u = u * (4095 - du) / 4096 + a
        v = v * (4096 - dv) / 4096 + u
        spikes[step], voltages[step] = v > threshold, v
        v = np.where(v > threshold, 0.0, v)
    return spikes, voltages


def population(du: int, dv: int, threshold: float, neurons: int = 7) -> SpikingPopulation:
    return SpikingPopulation(
        neurons,
        current_decay=(4095 - du) / 4096,
        voltage_decay=(4096 - dv) / 4096,
        threshold=threshold,
    ).double()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4095), st.integers(0, 4095), st.floats(0.1, 3.0), st.integers(0, 2**32))
def test_population_follows_the_chip_rule_exactly(
    du: int, dv: int, threshold: float, seed: int
) -> None:
    currents = np.random.default_rng(seed).normal(0.2, 1.0, size=(30, 3, 7))
    expected_spikes, expected_voltages = chip_rule(currents, du, dv, threshold)

    cells = population(du, dv, threshold)
    voltages = []
    hook = cells._dynamics.register_forward_hook(lambda _, __, output: voltages.append(output[2]))
    spikes = cells(torch.tensor(currents))
    hook.remove()

    np.testing.assert_array_equal(spikes.numpy(), expected_spikes)
    after_reset = np.where(expected_spikes == 1.0, 0.0, expected_voltages)
    np.testing.assert_array_equal(torch.stack(voltages).numpy(), after_reset)


def test_a_voltage_on_the_threshold_does_not_spike() -> None:
    cells = population(du=4095, dv=4095, threshold=1.0, neurons=1)
    above = np.nextafter(1.0, 2.0)
    spikes = cells(torch.tensor([[[1.0]], [[0.0]], [[above]]], dtype=torch.float64))
    assert spikes.flatten().tolist() == [0.0, 0.0, 1.0]


def test_every_run_of_a_population_starts_at_rest() -> None:
    cells = population(du=100, dv=100, threshold=1.0)
    currents = torch.rand(10, 3, 7, dtype=torch.float64, requires_grad=True)
    first = cells(currents)
    assert torch.equal(first, cells(currents))
    first.sum().backward()
    assert currents.grad is not None
    assert torch.count_nonzero(currents.grad) > 0
    copy.deepcopy(cells)  # fails while a state is kept in the autograd graph


@pytest.mark.parametrize("decay", [0.0, 1 / 4096, 0.25, 0.9, 4095 / 4096])
def test_current_decay_snaps_to_the_nearest_grid_point(decay: float) -> None:
    grid = (4095 - np.arange(4096)) / 4096
    assert snap_current_decay(decay) == grid[np.argmin(abs(grid - decay))]


@pytest.mark.parametrize("decay", [1 / 4096, 0.25, 0.9, 4095 / 4096, 1.0])
def test_voltage_decay_snaps_to_the_nearest_grid_point(decay: float) -> None:
    grid = (4096 - np.arange(4096)) / 4096
    assert snap_voltage_decay(decay) == grid[np.argmin(abs(grid - decay))]


@pytest.mark.parametrize(
    ("current_decay", "voltage_decay", "where"),
    [
        (1.0, 0.5, "current_decay"),
        (-0.1, 0.5, "current_decay"),
        (0.5, 0.0, "voltage_decay"),
        (0.5, 1.01, "voltage_decay"),
        (0.5, float("nan"), "voltage_decay"),
    ],
)
def test_a_decay_off_the_grid_is_refused(
    current_decay: float, voltage_decay: float, where: str
) -> None:
    with refused(ConfigError, "ADL-LIF-01", where=where, remedy="/4096"):
        SpikingPopulation(
            1, current_decay=current_decay, voltage_decay=voltage_decay, threshold=1.0
        )


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_fires_at_rest_is_refused(threshold: float) -> None:
    with refused(
        ConfigError, "ADL-LIF-02", where="SpikingPopulation.threshold", remedy="above zero"
    ):
        SpikingPopulation(1, current_decay=0.5, voltage_decay=0.5, threshold=threshold)


def test_all_levels_at_once_equal_each_level_alone() -> None:
    layer = DynamicLowRankLayer(9, 7, levels=[1, 3, 6])
    x = torch.randn(4, 2, 9)
    together = layer.forward_levels(x)
    assert together.shape == (3, 4, 2, 7)
    for output, rank in zip(together, layer.levels, strict=True):
        torch.testing.assert_close(output, layer.at_rank(x, rank))


def test_initial_weights_have_the_scale_of_a_linear_layer() -> None:
    layer = DynamicLowRankLayer(400, 300, levels=[50, 100])
    deviation = float((layer.U @ layer.V.T).detach().std())
    assert deviation == pytest.approx((3 * 400) ** -0.5, rel=0.05)


def test_from_dense_at_full_rank_is_the_dense_layer() -> None:
    weight, x = torch.randn(5, 8, dtype=torch.float64), torch.randn(20, 8, dtype=torch.float64)
    layer = DynamicLowRankLayer.from_dense(weight, x.T @ x / 20, [2, 5])
    assert layer.U.dtype == torch.float64
    torch.testing.assert_close(layer.at_rank(x, 5), x @ weight.T)


@pytest.mark.parametrize("levels", [[], [0, 2], [2, 2], [4, 2], [2, 6]])
def test_levels_that_are_no_ascending_ranks_are_refused(levels: list[int]) -> None:
    with refused(
        ConfigError, "ADL-LAY-01", where="DynamicLowRankLayer.levels", remedy="none above 5"
    ):
        DynamicLowRankLayer(5, 9, levels=levels)


def test_a_rank_between_levels_is_refused() -> None:
    layer = DynamicLowRankLayer(5, 9, levels=[2, 4])
    with refused(ConfigError, "ADL-LAY-02", where="DynamicLowRankLayer.rank", remedy="(2, 4)"):
        layer.at_rank(torch.zeros(1, 5), 3)
