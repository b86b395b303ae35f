"""The rank per sample of a low-rank layer: what is chosen, computed, paid and trained."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import DynamicLowRankLayer, GateNetwork, PerfEstimator, RankScheduler
from adlrns_neuro.export import export_network
from adlrns_neuro.functional import relative_cost
from adlrns_neuro.gates import fit_gate, price_for_energy
from adlrns_neuro.models import LowRankSNN, SnnConfig
from adlrns_neuro.warnings import BudgetWarning
from mapping.errors import ConfigError, UnsupportedModelError


def gated_layer(*, level_bias: bool = False, scorer_hidden: int = 0) -> DynamicLowRankLayer:
    """A layer whose gate spreads random inputs over all of the levels 4, 8, 16, 20."""
    layer = DynamicLowRankLayer(
        40, 30, r_min=4, r_max=20, level_bias=level_bias, scorer_hidden=scorer_hidden
    )
    with torch.no_grad():
        slopes = torch.tensor([[0.3], [0.6], [1.5]]) / (4.0 if scorer_hidden else 1.0)
        layer.gate.weight.copy_(-slopes)
        if layer.level_bias is not None:
            layer.level_bias.normal_()
    return layer


def level_by_level(layer: DynamicLowRankLayer, x: Tensor, ranks: Tensor) -> Tensor:
    return torch.stack([layer.at_rank(row, int(rank)) for row, rank in zip(x, ranks, strict=True)])


def multiply_accumulates(layer: DynamicLowRankLayer, x: Tensor, **options: float) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x, **options)
    return counter.get_total_flops() // 2


def test_the_founding_quick_start() -> None:
    layer = DynamicLowRankLayer(in_features=512, out_features=256, r_max=64, r_min=4)
    scheduler = RankScheduler("energy_aware", r_min=4, r_max=64)
    perf_estimator = PerfEstimator({"gpu_cores": 5120, "memory_bandwidth": 1e12})
    output, current_rank = layer(torch.randn(32, 512), budget=5.0)  # budget: mJ per sample

    assert output.shape == (32, 256)
    assert current_rank.shape == (32,)
    assert current_rank.dtype == torch.int64
    assert isinstance(layer.gate, GateNetwork)
    assert layer.levels == (4, 8, 16, 32, 64)
    x, budget = torch.randn(32, 512), perf_estimator.estimate(512, 256, 16).energy_mj
    for model in (layer, layer.eval()):
        _, ranks = model(x, budget=budget, scheduler=scheduler)
        assert (ranks == 16).all()


@pytest.mark.parametrize(("r_min", "r_max", "levels"), [(3, 20, (3, 6, 12, 20)), (5, 5, (5,))])
def test_levels_double_up_to_the_largest(r_min: int, r_max: int, levels: tuple[int, ...]) -> None:
    layer = DynamicLowRankLayer(40, 30, r_min=r_min, r_max=r_max)
    assert layer.levels == levels
    x = torch.randn(7, 40)
    for model in (layer, layer.eval()):
        output, ranks = model(x)
        assert (ranks == r_max).all()
        torch.testing.assert_close(output, layer.at_rank(x, r_max))


@pytest.mark.parametrize("scorer_hidden", [0, 12])
@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_every_sample_runs_at_the_rank_that_is_returned(
    training: bool, level_bias: bool, scorer_hidden: int
) -> None:
    layer = gated_layer(level_bias=level_bias, scorer_hidden=scorer_hidden).train(training)
    x = torch.randn(200, 40)
    output, ranks = layer(x)
    assert set(ranks.tolist()) == set(layer.levels)
    torch.testing.assert_close(output, level_by_level(layer, x, ranks))
    alone, rank = layer(x[7])
    torch.testing.assert_close(alone, output[7])
    assert rank == ranks[7]


@pytest.mark.parametrize("level_bias", [False, True])
def test_all_levels_at_once_equal_each_level_alone(level_bias: bool) -> None:
    layer, x = gated_layer(level_bias=level_bias), torch.randn(3, 5, 40)
    together = layer.forward_levels(x)
    for output, rank in zip(together, layer.levels, strict=True):
        torch.testing.assert_close(output, layer.at_rank(x, rank))


@pytest.mark.parametrize("training", [False, True])
def test_leading_axes_and_empty_batches_keep_their_shape(training: bool) -> None:
    layer = gated_layer(level_bias=True).train(training)
    x = torch.randn(2, 3, 40)
    output, ranks = layer(x)
    assert (output.shape, ranks.shape) == ((2, 3, 30), (2, 3))
    torch.testing.assert_close(output.flatten(0, 1), layer(x.flatten(0, 1))[0])
    scheduler = RankScheduler("adaptive", r_min=4, r_max=20)
    output, ranks = layer(torch.zeros(0, 40), budget=1.0, scheduler=scheduler)
    assert (output.shape, ranks.shape) == ((0, 30), (0,))


@pytest.mark.parametrize("scorer_hidden", [0, 12])
def test_a_call_computes_what_its_ranks_cost_and_no_more(scorer_hidden: int) -> None:
    layer = gated_layer(scorer_hidden=scorer_hidden).eval()
    x = torch.randn(200, 40)
    gate = scorer_hidden * (4 + 3) if scorer_hidden else 4 * 3
    middle = layer.energies_mj[8]
    for options in ({}, {"budget": middle}, {"budget": 1.0}):
        _, ranks = layer(x, **options)
        expected = int(ranks.sum()) * (40 + 30) + 200 * gate
        assert multiply_accumulates(layer, x, **options) == expected
    full = 200 * 20 * (40 + 30)
    assert multiply_accumulates(layer, x) < full
    assert multiply_accumulates(layer, x, budget=middle) < multiply_accumulates(layer, x)


def test_the_budget_caps_and_the_gate_lowers() -> None:
    layer, x = gated_layer().eval(), torch.randn(200, 40)
    _, free = layer(x)
    for rank, energy in layer.energies_mj.items():
        _, ranks = layer(x, budget=energy * 1.0001)
        assert torch.equal(ranks, free.clamp(max=rank))
    assert layer.energies_mj[8] == PerfEstimator().estimate(40, 30, 8).energy_mj
    layer.gate.price.fill_(1e6)
    assert (layer(x)[1] == 4).all()


def test_the_layer_models_energy_on_the_profile_it_is_given() -> None:
    estimator = PerfEstimator({"gpu_cores": 1, "memory_bandwidth": 1.0, "energy_per_flop_j": 1.0})
    layer = DynamicLowRankLayer(40, 30, r_min=4, r_max=8, perf_estimator=estimator)
    assert layer.energies_mj == estimator.energies_mj(40, 30, (4, 8))


def test_a_budget_below_the_lowest_level_runs_it_and_warns_once() -> None:
    layer, x = gated_layer(), torch.randn(9, 40)
    with pytest.warns(BudgetWarning, match="rank 4") as caught:
        _, ranks = layer(x, budget=layer.energies_mj[4] / 2)
    assert caught[0].filename == __file__
    assert (ranks == 4).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, ranks = layer(x, budget=layer.energies_mj[4] / 2)
    assert (ranks == 4).all()


def test_a_scheduler_caps_the_rank_without_a_budget() -> None:
    layer, x = gated_layer().eval(), torch.randn(200, 40)
    _, ranks = layer(x, scheduler=RankScheduler("fixed", r_min=4, r_max=20, rank=10))
    assert set(ranks.tolist()) == {4, 8}
    _, ranks = layer(x, scheduler=RankScheduler("fixed", r_min=1, r_max=20, rank=2))
    assert set(ranks.tolist()) == {4}


def test_gradients_reach_factors_biases_and_gate() -> None:
    layer = gated_layer(level_bias=True, scorer_hidden=12)
    output, _ = layer(torch.randn(50, 40))
    output.square().mean().backward()
    for name, weight in layer.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.count_nonzero() > 0, name
    gate_alone = gated_layer()
    gate_alone.expected_cost(torch.randn(50, 40)).mean().backward()
    weight, bias = gate_alone.gate.weight.grad, gate_alone.gate.bias.grad
    assert weight is not None
    assert bias is not None
    assert weight.count_nonzero() > 0
    assert (bias > 0).all()  # lower gains are cheaper


def test_training_does_not_compute_above_the_budget() -> None:
    layer, x = gated_layer(), torch.randn(200, 40)
    below = multiply_accumulates(layer, x, budget=layer.energies_mj[8])
    assert below < 200 * 8 * 70 + 200 * 2 * 4 * 3 + 1
    output, _ = layer(x, budget=layer.energies_mj[8])
    output.sum().backward()
    assert layer.V.grad is not None
    assert layer.V.grad[:, 8:].count_nonzero() == 0


def test_the_expected_cost_is_that_of_the_expected_rank() -> None:
    layer, x = gated_layer(), torch.randn(50, 40)
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(30.0)
    full = relative_cost(torch.tensor(20.0), 40, 30)
    torch.testing.assert_close(layer.expected_cost(x), full.expand(50))
    with torch.no_grad():
        layer.gate.bias.fill_(-30.0)
    torch.testing.assert_close(
        layer.expected_cost(x), relative_cost(torch.tensor(4.0), 40, 30).expand(50)
    )


def test_a_larger_weight_on_the_cost_lowers_the_mean_rank() -> None:
    target = torch.randn(24, 32) / 32**0.5
    mean_ranks, errors = [], []
    for weight in (0.0, 0.3, 3.0):
        torch.manual_seed(1)
        layer = DynamicLowRankLayer(32, 24, r_min=2, r_max=16)
        optimizer = torch.optim.Adam(layer.parameters(), lr=2e-2)
        for _ in range(150):
            x = torch.randn(64, 32)
            output, _ = layer(x)
            loss = (output - x @ target.T).square().mean() + weight * layer.expected_cost(x).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        x = torch.randn(500, 32)
        output, ranks = layer.eval()(x)
        mean_ranks.append(float(ranks.double().mean()))
        errors.append(float((output - x @ target.T).detach().square().mean()))
    assert mean_ranks[0] == 16.0
    assert mean_ranks[0] > mean_ranks[1] > mean_ranks[2] >= 2.0
    assert errors[0] < errors[1] < errors[2]


def test_a_fitted_and_priced_gate_beats_every_fixed_rank_of_its_energy() -> None:
    """Half of the samples are large and in the span of the first block, half small and not."""

    def samples(n: int) -> Tensor:
        easy = 3.0 * torch.randn(n, 40) * (torch.arange(40) < 4)
        return torch.where(torch.rand(n, 1) < 0.5, easy, torch.randn(n, 40)) @ basis.T

    basis = torch.linalg.qr(torch.randn(40, 40)).Q
    layer = DynamicLowRankLayer(40, 40, levels=[4, 10, 20, 40], scorer_hidden=16).eval()
    with torch.no_grad():
        layer.U.copy_(basis)
        layer.V.copy_(basis)
    held_out, test = samples(2000), samples(2000)
    with torch.no_grad():
        losses = (layer.forward_levels(held_out) - held_out).square().sum(dim=-1).T
    fit_gate(layer.gate, layer.features(held_out), losses)
    energies = list(layer.energies_mj.values())
    budget = sum(energies) / 4
    price = price_for_energy(layer.gate, layer.features(held_out), energies, budget)
    layer.gate.price.fill_(price)
    output, ranks = layer(test)
    spent = sum(layer.energies_mj[int(rank)] for rank in ranks) / len(ranks)
    assert spent == pytest.approx(budget, rel=0.05)
    error = float((output - test).square().sum(dim=-1).mean().detach())
    fixed = (layer.forward_levels(test) - test).square().sum(dim=-1).mean(dim=-1).detach()
    assert error < 0.8 * np.interp(spent, energies, fixed.numpy())


def test_a_state_survives_saving_and_copying() -> None:
    layer, x = gated_layer(level_bias=True, scorer_hidden=3).eval(), torch.randn(20, 40)
    layer.gate.price.fill_(0.7)
    other = gated_layer(level_bias=True, scorer_hidden=3).eval()
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer)):
        for ours, theirs in zip(layer(x), twin(x), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("training", [False, True])
def test_autocast_gives_the_type_of_a_linear_layer(training: bool) -> None:
    layer, x = gated_layer(level_bias=True).train(training), torch.randn(200, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, ranks = layer(x)
        assert output.dtype == nn.Linear(40, 30)(x).dtype == torch.bfloat16
        assert layer.at_rank(x, 8).dtype == torch.bfloat16
    assert len(ranks.unique()) == 4
    torch.testing.assert_close(
        output.float(), level_by_level(layer, x, ranks), atol=0.05, rtol=0.05
    )


def test_fixed_levels_and_training_compile_to_one_graph() -> None:
    layer, x = gated_layer(level_bias=True), torch.randn(20, 40)
    at_rank = torch.compile(layer.at_rank, backend="eager", fullgraph=True)
    torch.testing.assert_close(at_rank(x, 8), layer.at_rank(x, 8))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for ours, theirs in zip(compiled(x), layer(x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_evaluation_compiles_too() -> None:
    layer, x = gated_layer(level_bias=True).eval(), torch.randn(200, 40)
    compiled = torch.compile(layer, backend="eager")
    with torch.no_grad():
        for ours, theirs in zip(compiled(x), layer(x), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_the_outputs() -> None:
    layer = DynamicLowRankLayer(5, 4, levels=(1, 3), level_bias=True, level_gain=True).double()
    x, chosen = torch.randn(6, 5).double().requires_grad_(), torch.arange(6) % 2
    weights = (layer.U, layer.V, layer.level_bias, layer.level_gain)
    assert torch.autograd.gradcheck(lambda x, *_: layer.at_levels(x, chosen), (x, *weights))
    assert torch.autograd.gradcheck(lambda x, *_: layer.forward_levels(x), (x, *weights))


def test_a_level_bias_is_refused_at_export() -> None:
    model = LowRankSNN(SnnConfig())
    model.input_projection = DynamicLowRankLayer(64, 64, levels=(4, 8, 16), level_bias=True)
    with refused(UnsupportedModelError, "ADL-EXP-01", where="encoder", remedy="level_bias=False"):
        export_network(model, name="digits", dt_s=1e-3)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"r_max": 8}, {"r_min": 8}, {"levels": [2, 4], "r_max": 8}],
)
def test_levels_are_given_in_one_way(arguments: dict[str, int]) -> None:
    with refused(ConfigError, "ADL-LAY-01", remedy="either levels or both"):
        DynamicLowRankLayer(40, 30, **arguments)


@pytest.mark.parametrize(("r_min", "r_max"), [(0, 8), (8, 4), (4, 31), (-4, 4)])
def test_a_range_that_does_not_fit_is_refused(r_min: int, r_max: int) -> None:
    with refused(ConfigError, "ADL-LAY-01", where="levels", remedy="none above 30"):
        DynamicLowRankLayer(40, 30, r_min=r_min, r_max=r_max)


def test_inputs_of_another_width_are_refused() -> None:
    layer = gated_layer()
    for call in (layer, layer.forward_levels, layer.features, layer.expected_cost):
        with refused(ConfigError, "ADL-LAY-03", where="x", remedy="(..., 40)"):
            call(torch.zeros(3, 41))
    with refused(ConfigError, "ADL-LAY-03", where="x", remedy="(..., 40)"):
        layer.at_rank(torch.tensor(1.0), 4)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_that_lets_nothing_run_is_refused(budget: float) -> None:
    with refused(ConfigError, "ADL-LAY-04", where="budget", remedy="mJ or more"):
        gated_layer()(torch.zeros(1, 40), budget=budget)
