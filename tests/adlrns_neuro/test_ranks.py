"""Setting the levels of a whole model, and layers that weigh by level."""

from __future__ import annotations

import pytest
import torch
from support.errors import refused
from torch import Tensor, nn

from adlrns_neuro.layers import DynamicLowRankLayer, Ranked
from adlrns_neuro.ranks import at_level, forward_levels, level_count, ranked_layers
from mapping.errors import ConfigError


def layer(levels: tuple[int, ...] = (2, 4, 8)) -> DynamicLowRankLayer:
    """Gate, biases and gains set at random."""
    made = DynamicLowRankLayer(12, 10, levels=levels, level_bias=True, level_gain=True)
    with torch.no_grad():
        for parameter in (made.level_bias, made.level_gain, made.gate.weight):
            assert parameter is not None
            parameter.normal_()
    return made


def one_by_one(made: DynamicLowRankLayer, x: Tensor, chosen: Tensor) -> Tensor:
    rows = zip(x, chosen, strict=True)
    return torch.stack([made.at_rank(row, made.levels[level]) for row, level in rows])


@pytest.mark.parametrize("training", [True, False])
def test_gains_and_biases_are_those_of_the_chosen_level(training: bool) -> None:
    torch.manual_seed(0)
    made, x = layer().train(training), torch.randn(50, 12)
    outputs, ranks = made(x)

    assert len(ranks.unique()) > 1
    chosen = torch.tensor([made.levels.index(int(rank)) for rank in ranks])
    torch.testing.assert_close(outputs, one_by_one(made, x, chosen))
    torch.testing.assert_close(
        made.forward_levels(x), torch.stack([made.at_rank(x, rank) for rank in made.levels])
    )


def test_levels_are_given_by_sample_or_by_token() -> None:
    torch.manual_seed(0)
    made, x = layer(), torch.randn(6, 5, 12)
    by_sample, by_token = torch.randint(3, (6,)), torch.randint(3, (6, 5))

    expected = one_by_one(made, x.flatten(0, 1), by_token.flatten()).unflatten(0, (6, 5))
    torch.testing.assert_close(made.at_levels(x, by_token), expected)
    expected = one_by_one(made, x.flatten(0, 1), by_sample.repeat_interleave(5))
    torch.testing.assert_close(made.at_levels(x, by_sample), expected.unflatten(0, (6, 5)))


def test_a_model_runs_at_one_level_inside_the_block_and_by_its_gates_outside() -> None:
    torch.manual_seed(0)
    first, second = layer(), DynamicLowRankLayer(10, 7, levels=(3, 6))
    model = nn.Sequential(Ranked(first), nn.ReLU(), Ranked(second))
    x = torch.randn(9, 12)

    assert list(ranked_layers(model)) == ["0", "2"]
    assert level_count(model) == 3
    expected = [
        second.at_rank(first.at_rank(x, low).relu(), high) for low, high in ((2, 3), (4, 6), (8, 6))
    ]
    torch.testing.assert_close(forward_levels(model, x), torch.stack(expected))
    torch.testing.assert_close(forward_levels(model, x, (2,)), expected[2][None])
    mixed = torch.arange(9) % 3
    with at_level(model, mixed):
        torch.testing.assert_close(model(x), torch.stack(expected)[mixed, torch.arange(9)])
    assert model[0].chosen is None
    by_gate, ranks = first(x)
    torch.testing.assert_close(model[0](x), by_gate)
    assert torch.equal(model[0].chosen, ranks)


def test_levels_are_put_back_after_an_error() -> None:
    model = nn.Sequential(Ranked(layer()))
    with pytest.raises(ConfigError), at_level(model, 1):
        model(torch.randn(3, 11))
    assert model[0].level is None


def test_a_model_without_such_layers_is_refused() -> None:
    with refused(ConfigError, "ADL-RNK-01", where="Linear", remedy="convert"):
        ranked_layers(nn.Linear(3, 2))
