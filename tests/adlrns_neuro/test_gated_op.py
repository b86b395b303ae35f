"""The operator that runs layers with their gates, and what runs on it."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro.functional import packed_chain
from adlrns_neuro.functional.gated_op import GatedParts, gated_low_rank
from adlrns_neuro.functional.packed_chain import PackedLayers
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import at_level, ranked_layers
from adlrns_neuro.schedulers import RankScheduler
from simulators.kernels import vector
from simulators.kernels.gated import GatedChain
from simulators.kernels.pool import available_threads, pool

CONFIG = MlpConfig(
    inputs=20, hidden=(16, 12), classes=4, levels=(2, 4, 8), dropout=0.0, level_bias=True
)


def perceptron(**options: bool) -> LowRankMLP:
    """In evaluation mode, with gates that decide differently from sample to sample."""
    torch.manual_seed(0)
    model = LowRankMLP(replace(CONFIG, **options))
    for part in ranked_layers(model).values():
        torch.nn.init.normal_(part.layer.gate.weight)
        torch.nn.init.zeros_(part.layer.gate.bias)
        if part.layer.level_bias is not None:
            torch.nn.init.normal_(part.layer.level_bias, std=0.3)
    return model.eval()


def layer_by_layer(model: LowRankMLP, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and ranks by torch's own products, in double precision."""
    double, ranks = copy.deepcopy(model).double(), []
    value = x.double()
    for part in double.hidden:
        outputs, chosen = part.layer(value)
        value = outputs.relu()
        ranks.append(chosen)
    return double.head(value).float(), ranks


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one with every chain that the kernels have run."""
    made: list[bool] = []
    run = packed_chain.run_gates

    def noted(packed: PackedLayers[GatedChain], *given: object) -> tuple[Tensor, Tensor]:
        if packed.layers > 1:
            made.append(True)
        return run(packed, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_chain, "run_gates", noted)
    return made


@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 50])
def test_a_perceptron_is_one_call(level_bias: bool, batch: int, calls: list[bool]) -> None:
    model, x = perceptron(level_bias=level_bias), torch.randn(50, 20)[:batch]
    with torch.no_grad():
        logits = model(x)
        right, ranks = layer_by_layer(model, x)
    assert len(calls) == 1
    torch.testing.assert_close(logits, right)
    for part, chosen in zip(model.hidden, ranks, strict=True):
        assert torch.equal(part.chosen, chosen)
        assert torch.equal(part.ran, torch.searchsorted(torch.tensor(CONFIG.levels), chosen))
        if batch == 50:
            assert len(chosen.unique()) > 1
            assert part.spent_mj > 0


@pytest.mark.usefixtures("exact_after")
def test_a_perceptron_is_rounded_if_torch_may_round(calls: list[bool]) -> None:
    """Where gates decide alike, which they do unless a gain is near its price."""
    model, x = perceptron(level_bias=True), torch.randn(50, 20)
    with torch.no_grad():
        exact = model(x)
        ranks = [part.chosen for part in model.hidden]
        torch.set_float32_matmul_precision("medium")
        rounded = model(x)
        alike = torch.stack(
            [part.chosen == own for part, own in zip(model.hidden, ranks, strict=True)]
        ).all(dim=0)
        torch.set_float32_matmul_precision("highest")
        torch.testing.assert_close(model(x), exact)
    assert len(calls) == 3
    assert alike.float().mean() > 0.8
    error = (rounded - exact)[alike].abs().max() / exact.std()
    assert error < 0.1
    assert bool(error > 1e-4) == vector.BFLOAT16


def test_what_the_kernels_cannot_run_goes_layer_by_layer(calls: list[bool]) -> None:
    model, x = perceptron(), torch.randn(30, 20)
    model(x)  # With gradients.
    with torch.no_grad():
        model(x[None])
        model.double()(x.double())
        model.float().train()(x)
        model.eval()
        with at_level(model, 1):
            model(x)
        with torch.autocast("cpu", torch.bfloat16):
            model(x)
        model.hidden[1].scheduler = RankScheduler("fixed", r_min=2, r_max=8, rank=4)
        model(x)
        perceptron(level_gain=True)(x)
        unbiased = perceptron()
        unbiased.head = torch.nn.Linear(12, 4, bias=False)
        unbiased(x)
        seen: list[object] = []
        for name in ("hidden.0", "hidden.1.layer", "head"):
            watched = perceptron()
            watched.get_submodule(name).register_forward_hook(lambda *given: seen.append(given))
            watched(x)
        assert len(seen) == 3
    assert not calls


def test_gates_follow_price_and_changes() -> None:
    model, x = perceptron(level_bias=True), torch.randn(40, 20)
    part = model.hidden[0]
    changes = (
        lambda: part.layer.gate.weight.mul_(-1),
        lambda: part.layer.gate.bias.add_(0.1),
        lambda: part.layer.level_bias.add_(1),
        lambda: model.head.weight.mul_(2),
        lambda: model.head.bias.add_(1),
        lambda: part.layer.gate.price.fill_(0.5),
        lambda: part.layer.V.mul_(-1),
    )
    with torch.no_grad():
        before = model(x)
        for change in changes:
            change()
            logits = model(x)
            assert not torch.allclose(logits, before)
            torch.testing.assert_close(logits, layer_by_layer(model, x)[0])
            before = logits
        part.price_per_mj = 1e9
        model(x)
        assert part.chosen is not None
        assert int(part.chosen.max()) == CONFIG.levels[0]


def test_products_are_counted_as_they_run() -> None:
    model, x = perceptron(), torch.randn(40, 20)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    first, second = (int(part.chosen.sum()) for part in model.hidden)
    gates = 40 * 2 * 2 * 2
    expected = first * (20 + 16) + second * (16 + 12) + gates + 40 * 12 * 4
    assert counter.get_total_flops() == 2 * expected


def test_a_perceptron_compiles_whole() -> None:
    torch._dynamo.reset()
    model, x = perceptron(level_bias=True), torch.randn(9, 20)
    with torch.no_grad():
        right = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), right)


def test_obeys_the_rules_of_operators() -> None:
    model, x = perceptron(level_bias=True), torch.randn(9, 20)
    with torch.no_grad():
        parts = [part.layer.gated_parts(None) for part in model.hidden]
        flat = [tensor.detach() for layer in parts for tensor in layer[:-1]]
        prices = [layer.price for layer in parts]
        head = [model.head.weight.detach(), model.head.bias.detach()]
        operator = torch.ops.adlrns.gated_low_rank.default
        checks = ("test_schema", "test_faketensor")
        for last in (head, []):
            given = (x, flat, last, prices, [3, 2], True)
            torch.library.opcheck(operator, given, test_utils=checks)


def test_inputs_may_lie_apart_and_in_inference_mode() -> None:
    model = perceptron()
    wide = torch.randn(20, 30).T[:, :20]
    with torch.inference_mode():
        logits = model(wide)
        made = perceptron()
        for _ in range(2):
            found = made(wide)
            torch.testing.assert_close(found, layer_by_layer(made, wide)[0])
            made.hidden[0].layer.V.mul_(2)
    torch.testing.assert_close(logits, layer_by_layer(model, wide)[0])


def test_a_chain_uses_no_more_threads_than_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, seen = perceptron(level_bias=True), torch.randn(600, 20), []
    forward_at = GatedChain.forward_at

    def noted(chain: GatedChain, *given: Any) -> None:
        seen.append(chain.threads)
        forward_at(chain, *given)

    monkeypatch.setattr(GatedChain, "forward_at", noted)
    monkeypatch.setattr(pool, "threads", 2)
    threads = torch.get_num_threads()
    try:
        for most in (1, 2, 1):
            torch.set_num_threads(most)
            with torch.no_grad():
                model(x)
    finally:
        torch.set_num_threads(threads)
    assert seen == [1, min(2, available_threads()), 1]
    assert pool.threads == 2


def test_a_call_within_a_call_has_memory_of_its_own() -> None:
    """As threads that share a model have."""
    model, x = perceptron(level_bias=True), torch.randn(600, 20)
    with torch.no_grad():
        right = layer_by_layer(model, x)[0]

    def run(_: int) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(x)
            return found

    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(run, range(40)):
            torch.testing.assert_close(found, right)


def test_one_layer_may_be_limited() -> None:
    model, x = perceptron(level_bias=False), torch.randn(30, 20)
    parts: GatedParts = model.hidden[0].layer.gated_parts(-1e9)
    with torch.no_grad():
        for count, rank in ((1, 2), (2, 4), (3, 8)):
            outputs, ranks = gated_low_rank(x, [parts], [count], rectified=False)
            assert ranks.unique().tolist() == [rank]
            torch.testing.assert_close(outputs, x @ parts.V[:, :rank] @ parts.U[:, :rank].T)
