"""The low-rank convolution: against torch's own, and at a rank per image."""

from __future__ import annotations

import copy

import pytest
import torch
from support.errors import refused
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import DynamicLowRankConv2d, PerfEstimator, RankScheduler
from adlrns_neuro.functional import relative_cost
from adlrns_neuro.layers import Ranked
from adlrns_neuro.ranks import at_level
from mapping.errors import ConfigError
from mapping.lowrank import second_moment

GEOMETRIES = (
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 1), "padding": (2, 0), "dilation": (2, 1), "stride": (1, 2)},
    {"kernel_size": 1},
)


def gated_layer(**options: object) -> DynamicLowRankConv2d:
    """Five channels to nine; the gate spreads random images over the levels 2, 4, 8."""
    layer = DynamicLowRankConv2d(
        5, 9, **({"kernel_size": 3, "padding": 1, "image_size": (8, 7)} | options), levels=(2, 4, 8)
    )
    with torch.no_grad():
        layer.gate.weight.normal_(std=25.0)
        for parameter in (layer.level_bias, layer.level_gain):
            if parameter is not None:
                parameter.normal_()
    return layer


def images(count: int = 12) -> Tensor:
    return torch.randn(count, 5, 8, 7)


def one_by_one(layer: DynamicLowRankConv2d, x: Tensor, ranks: Tensor) -> Tensor:
    return torch.stack([layer.at_rank(row, int(rank)) for row, rank in zip(x, ranks, strict=True)])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_full_rank_is_torchs_own_convolution(geometry: dict[str, object]) -> None:
    dense = nn.Conv2d(3, 4, bias=False, **geometry).double()
    x = torch.randn(6, 3, 9, 8).double()
    patches = F.unfold(x, dense.kernel_size, dense.dilation, dense.padding, dense.stride)
    moment = torch.from_numpy(second_moment(patches.mT.flatten(0, 1).numpy()))
    full = min(dense.weight[0].numel(), 4)
    layer = DynamicLowRankConv2d.from_dense(
        dense.weight,
        moment,
        levels=(1, full),
        image_size=(9, 8),
        stride=dense.stride,
        padding=dense.padding,
        dilation=dense.dilation,
    )
    exact = full == 4
    if exact:
        torch.testing.assert_close(layer.at_rank(x, full), dense(x))
        torch.testing.assert_close(layer.at_rank(x[0], full), dense(x[0]))
    assert layer.positions == dense(x)[0, 0].numel()
    # Of all pairs of rank 1 the whitened one is nearest: nearer than the plain decomposition's.
    left, values, right = torch.linalg.svd(dense.weight.flatten(1), full_matrices=False)
    plain = copy.deepcopy(layer)
    plain.load_factors(left[:, :full] * values[:full], right[:full].T)
    nearness = [(one.at_rank(x, 1) - dense(x)).square().mean() for one in (layer, plain)]
    assert nearness[0] < nearness[1]
    torch.testing.assert_close(plain.input_matrix(), right[:full].T)


@pytest.mark.parametrize("level_gain", [False, True])
@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_every_image_runs_at_the_rank_that_is_returned(
    training: bool, level_bias: bool, level_gain: bool
) -> None:
    layer = gated_layer(level_bias=level_bias, level_gain=level_gain).train(training)
    x = images(40)
    outputs, ranks = layer(x)
    assert set(ranks.tolist()) == {2, 4, 8}
    torch.testing.assert_close(outputs, one_by_one(layer, x, ranks))
    together = layer.forward_levels(x)
    torch.testing.assert_close(together, torch.stack([layer.at_rank(x, r) for r in (2, 4, 8)]))
    chosen = torch.randint(3, (40,))
    expected = one_by_one(layer, x, torch.tensor(layer.levels)[chosen])
    torch.testing.assert_close(layer.at_levels(x, chosen), expected)
    first = layer.first_block(x, output=True)
    assert (first.output is None) == level_gain
    torch.testing.assert_close(layer.at_levels(x, chosen, first=first), expected)
    for at, rank in enumerate(layer.levels):
        torch.testing.assert_close(layer.at_rank(x, rank, first=first), together[at])


@pytest.mark.parametrize("training", [False, True])
def test_leading_axes_single_images_and_empty_batches_keep_their_shape(training: bool) -> None:
    layer, x = gated_layer(level_bias=True).train(training), images(6)
    outputs, ranks = layer(x)
    nested, nested_ranks = layer(x.unflatten(0, (2, 3)))
    torch.testing.assert_close(nested, outputs.unflatten(0, (2, 3)))
    assert torch.equal(nested_ranks, ranks.unflatten(0, (2, 3)))
    alone, rank = layer(x[4])
    torch.testing.assert_close(alone, outputs[4])
    assert rank == ranks[4]
    assert layer.forward_levels(x[4]).shape == (3, 9, 8, 7)
    assert layer.features(x[4]).shape == (2,)
    empty, none = layer(images(0))
    assert (empty.shape, none.shape) == ((0, 9, 8, 7), (0,))


def test_a_call_computes_what_its_ranks_cost_and_no_more() -> None:
    layer, x = gated_layer().eval(), images(40)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _, ranks = layer(x)
    gate = 40 * 2 * 2
    assert counter.get_total_flops() // 2 == int(ranks.sum()) * (45 + 9) * 56 + gate


def test_budgets_and_schedulers_limit_the_rank_by_the_energy_of_an_image() -> None:
    layer, x = gated_layer().eval(), images(40)
    expected = PerfEstimator().estimate(45, 9, 4, positions=56, activations=5 * 56 + 9 * 56)
    assert layer.energies_mj[4] == expected.energy_mj
    free = layer(x)[1]
    assert torch.equal(layer(x, budget=layer.energies_mj[4])[1], free.clamp(max=4))
    scheduler = RankScheduler("fixed", r_min=2, r_max=8, rank=2)
    assert (layer(x, scheduler=scheduler)[1] == 2).all()
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(30.0)
    cost = relative_cost(torch.tensor(8.0), 45, 9, activations=14 * 56)
    torch.testing.assert_close(layer.expected_cost(x), cost.expand(40))
    flops = relative_cost(torch.tensor(8.0), 45, 9, alpha=1.0, beta=0.0)
    torch.testing.assert_close(layer.expected_cost(x, alpha=1.0, beta=0.0), flops.expand(40))
    assert (layer(x, price=1e6)[1] == 2).all()


def test_gradients_reach_kernels_biases_gains_and_gate() -> None:
    layer = gated_layer(level_bias=True, level_gain=True)
    layer(images(40))[0].square().mean().backward()
    for name, weight in layer.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.count_nonzero() > 0, name


def test_gradients_are_those_of_the_outputs() -> None:
    layer = gated_layer(level_bias=True, level_gain=True).double()
    layer.gate.requires_grad_(False)
    x = images(3).double()[..., :4, :3].requires_grad_()
    chosen = torch.tensor([0, 2, 1])
    weights = tuple(w for w in layer.parameters() if w.requires_grad)
    assert torch.autograd.gradcheck(lambda x, *_: layer.at_levels(x, chosen), (x, *weights))
    assert torch.autograd.gradcheck(lambda x, *_: layer.forward_levels(x), (x, *weights))


@pytest.mark.parametrize("training", [False, True])
def test_autocast_gives_the_type_of_torchs_convolution(training: bool) -> None:
    layer, x = gated_layer(level_bias=True, level_gain=True).train(training), images(40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, ranks = layer(x)
        assert outputs.dtype == nn.Conv2d(5, 9, 3)(x).dtype == torch.bfloat16
        assert layer.at_rank(x, 4).dtype == torch.bfloat16
    expected = one_by_one(layer, x, ranks)
    torch.testing.assert_close(outputs.float(), expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("training", [False, True])
def test_it_compiles(training: bool) -> None:
    torch._dynamo.reset()
    layer, x = gated_layer(level_bias=True).train(training), images(9)
    compiled = torch.compile(layer, backend="eager", fullgraph=training)
    with torch.set_grad_enabled(training):
        for ours, theirs in zip(compiled(x), layer(x), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_state_survives_saving_copying_and_channels_last() -> None:
    layer, x = gated_layer(level_bias=True, scorer_hidden=3).eval(), images()
    other = gated_layer(level_bias=True, scorer_hidden=3).eval()
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer)):
        for ours, theirs in zip(layer(x), twin(x), strict=True):
            assert torch.equal(ours, theirs)
    outputs, ranks = layer(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs, layer(x)[0])
    assert torch.equal(ranks, layer(x)[1])


def test_it_stands_in_the_place_of_a_convolution() -> None:
    layer, x = gated_layer(), images()
    model = nn.Sequential(Ranked(layer), nn.ReLU())
    mixed = torch.arange(12) % 3
    with at_level(model, 1):
        torch.testing.assert_close(model(x), layer.at_rank(x, 4).relu())
    with at_level(model, mixed):
        torch.testing.assert_close(model(x), layer.at_levels(x, mixed).relu())
    model(x)
    assert torch.equal(model[0].chosen, layer(x)[1])


def test_inputs_without_its_channels_are_refused() -> None:
    layer = gated_layer()
    for call in (layer, layer.forward_levels, layer.features, layer.expected_cost):
        for x in (torch.zeros(2, 4, 8, 7), torch.zeros(8, 7), torch.tensor(1.0)):
            with refused(ConfigError, "ADL-LAY-03", where="Conv2d.x", remedy="(..., 5, h, w)"):
                call(x)
    with refused(ConfigError, "ADL-LAY-02", where="Conv2d.rank", remedy="(2, 4, 8)"):
        layer.at_rank(images(), 3)


def test_ranks_and_budgets_that_do_not_fit_are_refused() -> None:
    with refused(ConfigError, "ADL-LAY-01", where="Conv2d.levels", remedy="none above 9"):
        DynamicLowRankConv2d(5, 9, 3, image_size=(8, 7), r_min=1, r_max=10)
    with refused(ConfigError, "ADL-LAY-04", where="Conv2d.budget", remedy="mJ or more"):
        gated_layer()(images(), budget=0.0)


def test_a_kernel_that_does_not_fit_on_the_image_is_refused() -> None:
    with refused(ConfigError, "ADL-LAY-05", where="image_size", remedy="height and width"):
        DynamicLowRankConv2d(5, 9, 3, image_size=(8, 2), levels=(2,))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_it_runs_on_a_gpu() -> None:
    layer, x = gated_layer(level_bias=True).eval(), images(40)
    outputs, ranks = layer(x)
    on_gpu, gpu_ranks = copy.deepcopy(layer).cuda()(x.cuda())
    torch.testing.assert_close(on_gpu.cpu(), outputs, atol=1e-4, rtol=1e-3)
    assert torch.equal(gpu_ranks.cpu(), ranks)
