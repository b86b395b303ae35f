"""The operator that runs layers at given levels, and what runs on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.errors import refused
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel
from adlrns_neuro.functional.leveled_op import leveled_low_rank
from adlrns_neuro.layers import chain
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import at_level, ranked_layers
from mapping.errors import ConfigError

CONFIG = MlpConfig(
    inputs=20,
    hidden=(16, 12),
    classes=4,
    layer_levels=((2, 4, 8), (1, 3, 6)),
    dropout=0.0,
    level_bias=True,
)


def perceptron(**options: bool) -> LowRankMLP:
    """In evaluation mode, with biases that tell levels apart."""
    torch.manual_seed(0)
    model = LowRankMLP(replace(CONFIG, **options))
    for part in ranked_layers(model).values():
        if part.layer.level_bias is not None:
            torch.nn.init.normal_(part.layer.level_bias, std=0.3)
    return model.eval()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether what the first layer begins with was known, of every chain that kernels have run."""
    made: list[bool] = []
    run = chain.leveled_low_rank

    def noted(*given: object, start: Tensor | None, **further: object) -> Tensor:
        made.append(start is not None)
        return run(*given, start=start, **further)  # type: ignore[arg-type]

    monkeypatch.setattr(chain, "leveled_low_rank", noted)
    return made


@pytest.mark.parametrize("layer_levels", [((2, 4),), ((2, 4), (1, 2, 3)), ((2,), (1,), (1,))])
def test_levels_that_do_not_fit_the_layers(layer_levels: tuple[tuple[int, ...], ...]) -> None:
    with refused(ConfigError, "ADL-LAY-01", where="MlpConfig", message="2 hidden", remedy="list"):
        replace(CONFIG, layer_levels=layer_levels)


@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 50])
def test_a_perceptron_at_levels_is_one_call(
    level_bias: bool, batch: int, calls: list[bool]
) -> None:
    model, x = perceptron(level_bias=level_bias), torch.randn(50, 20)[:batch]
    mixed = torch.arange(batch) % 4  # The last one stands for those beyond.
    for level in (0, 1, 2, 9, mixed):
        with at_level(model, level):
            right = model(x)  # With gradients, by torch.
            with torch.no_grad():
                torch.testing.assert_close(model(x), right)
        for part in model.hidden:
            assert part.ran is level
    assert calls == [False] * 5


def test_what_the_kernels_cannot_run_goes_layer_by_layer(calls: list[bool]) -> None:
    model, x = perceptron(), torch.randn(30, 20)
    with torch.no_grad():
        with at_level(model, 1):
            model(x[None])
            model.double()(x.double())
            model.float().train()(x)
            model.eval()
            with torch.autocast("cpu", torch.bfloat16):
                model(x)
            model.hidden[1].level = 0
            model(x)
        with at_level(gained := perceptron(level_gain=True), 1):
            gained(x)
        watched = perceptron()
        watched.hidden[0].register_forward_hook(lambda *_: None)
        with at_level(watched, 1):
            watched(x)
    assert not calls


@torch.no_grad()
def test_one_gate_with_a_population_runs_in_two_calls_that_share_the_first_block(
    calls: list[bool],
) -> None:
    model, x = perceptron(), torch.randn(60, 20)
    made = AdaptiveModel(model, x, scorer_hidden=5).eval()
    made.gate.weight.copy_(torch.randn(1, 5))
    gains = made.gate.gains(made.scorer.score(model, x)[0])[:, 0]
    made.gate.bias -= gains.quantile(torch.tensor([0.4, 0.7]))
    calls.clear()
    outputs, levels = made(x, price=0.0)
    assert calls == [True, True]
    assert levels.unique().tolist() == [0, 1, 2]
    with torch.enable_grad():
        right = [model.forward_levels(x)[int(level), n] for n, level in enumerate(levels)]
    torch.testing.assert_close(outputs, torch.stack(right).detach())


@torch.no_grad()
def test_products_are_counted_as_they_run() -> None:
    model, x = perceptron(), torch.randn(40, 20)
    levels = torch.arange(40) % 3
    with at_level(model, levels), FlopCounterMode(display=False) as counter:
        model(x)
    first, second = (torch.tensor(ranks)[levels].sum() for ranks in CONFIG.layer_levels or ())
    expected = int(first) * (20 + 16) + int(second) * (16 + 12) + 40 * 12 * 4
    assert counter.get_total_flops() == 2 * expected


@torch.no_grad()
def test_changes_of_factors_and_biases_are_seen() -> None:
    model, x = perceptron(), torch.randn(30, 20)
    for change in (
        lambda: model.hidden[0].layer.U.mul_(1.1),
        lambda: model.hidden[1].layer.V.add_(0.1),
        lambda: model.hidden[0].layer.level_bias.add_(0.1),
        lambda: model.head.weight.mul_(0.9),
    ):
        for _ in range(2):
            with at_level(model, 1):
                found = model(x)
                with torch.enable_grad():
                    torch.testing.assert_close(found, model(x).detach())
            change()


@torch.no_grad()
def test_a_perceptron_at_a_level_compiles_whole() -> None:
    torch._dynamo.reset()
    model, x = perceptron(), torch.randn(9, 20)
    with at_level(model, 1):
        right = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), right)


@torch.no_grad()
def test_obeys_the_rules_of_operators() -> None:
    model, x = perceptron(), torch.randn(9, 20)
    parts = [part.layer.leveled_parts() for part in model.hidden]
    head = [model.head.weight, model.head.bias]
    levels = torch.arange(9) % 3
    flat = [part.detach() for given in parts for part in given]
    for start in (None, torch.randn(9, 16)):
        arguments = (x, flat, [part.detach() for part in head], levels, start, True)
        torch.library.opcheck(torch.ops.adlrns.leveled_low_rank.default, arguments)
        found = leveled_low_rank(x, parts, levels, head=head, start=start, rectified=True)
        assert found.shape == (9, 4)
