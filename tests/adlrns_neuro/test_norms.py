"""Batch normalisation with statistics of each level, behind converted layers."""

from __future__ import annotations

import copy

import pytest
import torch
from support.errors import refused
from torch import Tensor, nn

from adlrns_neuro import AdaptiveModel, calibrate_norms, convert, materialize
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.layers import LevelBatchNorm
from adlrns_neuro.ranks import at_level, forward_levels, ranked_layers
from mapping.errors import ConfigError

LEVELS = (2, 4, 6)


def network(seed: int = 0) -> nn.Sequential:
    """Two convolutions and a matrix with a batch normalisation behind each, one before them all."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12, affine=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 16),
        nn.BatchNorm1d(16, momentum=None),
        nn.Linear(16, 5),
    )


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def converted(seed: int = 0) -> nn.Module:
    return convert(network(seed), [images(64)], levels=LEVELS)[0]


def trained() -> nn.Module:
    """A model after two steps of training at all levels."""
    model = converted().train()
    for seed in (2, 3):
        forward_levels(model, images(32, seed))
    return model.eval()


def norms(model: nn.Module) -> list[LevelBatchNorm]:
    return [part for part in model.modules() if isinstance(part, LevelBatchNorm)]


def test_those_behind_a_converted_layer_have_statistics_of_each_level() -> None:
    model = converted()
    assert [norm.running_mean.shape for norm in norms(model)] == [(3, 12), (3, 12), (3, 16)]
    assert type(model[0]) is nn.BatchNorm2d, "its inputs are those of the network"
    plain, x = network().eval(), images(8)
    model.eval()
    for norm, own in zip(norms(model), (plain[2], plain[5], plain[9]), strict=True):
        assert own.running_mean is not None
        assert (norm.running_mean == own.running_mean).all(), "they start with those they had"
    highest = convert(plain, [images(64)], ranks={"1": 12, "8": 16})[0].eval()
    torch.testing.assert_close(highest(x), plain(x), atol=1e-4, rtol=1e-4)


def test_a_level_moves_its_own_statistics_as_torch_does() -> None:
    model, x = converted().train(), images(32)
    twin = materialize(model, 1).train()
    with at_level(model, 1):
        torch.testing.assert_close(model(x), twin(x), atol=1e-4, rtol=1e-4)
    before, moved, norm = norms(converted())[0], norms(model)[0], twin[2]
    torch.testing.assert_close(moved.running_mean[1], norm.running_mean)
    torch.testing.assert_close(moved.running_var[1], norm.running_var)
    for level in (0, 2):
        assert (moved.running_var[level] == before.running_var[level]).all()
    assert moved.num_batches_tracked.tolist() == [0, 1, 0]


def test_levels_of_samples_have_the_statistics_of_each() -> None:
    model, x = trained(), images(12)
    levels = torch.arange(12) % 3
    by_level = forward_levels(model, x)
    with at_level(model, levels):
        mixed = model(x)
    torch.testing.assert_close(mixed, by_level[levels, torch.arange(12)], atol=1e-4, rtol=1e-4)
    assert (by_level[0] - by_level[2]).abs().max() > 0.1


def test_a_gate_takes_its_own_layers_statistics() -> None:
    model, x = trained(), images(12)
    with torch.no_grad():
        for part in ranked_layers(model).values():
            part.layer.gate.bias.fill_(0.0)
            part.layer.gate.weight.normal_()
        model(x)
    for part in ranked_layers(model).values():
        assert part.chosen is not None
        assert isinstance(part.ran, Tensor)
        assert [part.layer.levels[k] for k in part.ran.tolist()] == part.chosen.tolist()


@pytest.mark.parametrize("scorer", SCORERS.names())
def test_an_adaptive_model_runs_samples_with_the_statistics_of_their_level(scorer: str) -> None:
    model, x = trained(), images(12)
    adaptive = AdaptiveModel(model, x, scorer=scorer).eval()
    adaptive.fit(images(64, 5), torch.arange(64) % 5)
    with torch.no_grad():
        outputs, levels = adaptive(x)
        by_level = forward_levels(model, x)
    counts = adaptive.probe_weights[levels][:, None]
    wanted = by_level[levels, torch.arange(12)] + counts * by_level[0]
    torch.testing.assert_close(outputs, wanted, atol=1e-4, rtol=1e-4)


def test_a_batch_of_several_levels_moves_nothing_in_training() -> None:
    model = trained().train()
    before = [norm.running_mean.clone() for norm in norms(model)]
    with at_level(model, torch.arange(12) % 3):
        outputs = model(images(12))
    assert outputs.isfinite().all()
    for norm, mean in zip(norms(model), before, strict=True):
        assert (norm.running_mean == mean).all()


@pytest.mark.parametrize("level", range(3))
def test_a_plain_model_has_the_statistics_of_its_level(level: int) -> None:
    model, x = trained(), images(8)
    plain = materialize(model, level)
    assert not norms(plain)
    with at_level(model, level):
        torch.testing.assert_close(plain(x), model(x), atol=1e-4, rtol=1e-4)


def test_copies_and_saved_weights_answer_bit_for_bit() -> None:
    model, x = trained(), images(8)
    other = converted(seed=7).eval()
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model)):
        assert (forward_levels(twin, x) == forward_levels(model, x)).all()
    twin = copy.deepcopy(model)
    with at_level(twin, 0):
        assert (twin(x) == forward_levels(model, x)[0]).all(), "it follows its own layers"


def test_measured_statistics_are_the_means_over_the_batches() -> None:
    model, batches = trained().train(), [images(32, 4), images(32, 5)]
    model[0].eval()
    seen: list[Tensor] = []
    handle = norms(model)[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    calibrate_norms(model, batches)
    handle.remove()
    first = norms(model)[0]
    for level in range(3):
        parts = seen[level::3]
        mean = torch.stack([part.mean(dim=(0, 2, 3)) for part in parts]).mean(dim=0)
        var = torch.stack([part.var(dim=(0, 2, 3)) for part in parts]).mean(dim=0)
        torch.testing.assert_close(first.running_mean[level], mean)
        torch.testing.assert_close(first.running_var[level], var)
    assert [norm.momentum for norm in norms(model)] == [0.1, 0.1, None]
    assert model.training
    assert first.training
    assert not model[0].training


def test_without_samples_statistics_stay_as_they_are() -> None:
    model = trained()
    before = copy.deepcopy(model.state_dict())
    with refused(ConfigError, "ADL-CNV-04", message="no samples"):
        calibrate_norms(model, [])
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
