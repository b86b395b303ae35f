"""The operator that runs a network whose one gate reads its answer, and what runs on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.errors import refused
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel
from adlrns_neuro.functional import packed_chain
from adlrns_neuro.functional.probed_op import ProbeParts, probed_low_rank
from adlrns_neuro.gates import GateNetwork
from adlrns_neuro.gates.scorers import ConfidenceProbe
from adlrns_neuro.layers import DynamicLowRankLayer
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import at_level, forward_levels, ranked_layers
from mapping.errors import ConfigError

CONFIG = MlpConfig(
    inputs=20,
    hidden=(16, 12),
    classes=7,
    layer_levels=((2, 4, 8), (1, 3, 6)),
    dropout=0.0,
    level_bias=True,
)


def adaptive(**options: object) -> tuple[AdaptiveModel, Tensor]:
    """A network whose gate spreads 100 samples over all levels at price 0, the probe weighed."""
    torch.manual_seed(0)
    model = LowRankMLP(replace(CONFIG, **options)).eval()  # type: ignore[arg-type]
    x = torch.randn(100, 20)
    with torch.no_grad():
        for part in ranked_layers(model).values():
            if part.layer.level_bias is not None:
                part.layer.level_bias.normal_(std=0.3)
        made = AdaptiveModel(model, x)
        features, _ = made.scorer.score(model, x)
        made.gate.weight.normal_()
        made.gate.bias -= made.gate.gains(features).quantile(0.4, dim=0)
        made.probe_weights.copy_(torch.tensor([0.0, 0.5, 0.3]))
    return made.eval(), x


def by_torch(made: AdaptiveModel, x: Tensor, price: float | None = None) -> tuple[Tensor, Tensor]:
    """The same layer by layer: with gradients nothing runs on the kernels."""
    with torch.enable_grad():
        outputs, levels = made(x, price=price)
    return outputs.detach(), levels


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each call of the kernels had."""
    made: list[int] = []
    run = packed_chain.run_probe

    def noted(packed: object, x: Tensor, *given: object) -> tuple[Tensor, Tensor]:
        made.append(len(x))
        return run(packed, x, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_chain, "run_probe", noted)
    return made


@torch.no_grad()
@pytest.mark.parametrize("level_bias", [False, True])
@pytest.mark.parametrize("early_exit", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 100])
def test_a_network_with_one_gate_is_one_call(
    level_bias: bool, early_exit: bool, batch: int, calls: list[int]
) -> None:
    made, samples = adaptive(level_bias=level_bias, early_exit=early_exit)
    x = samples[:batch]
    for price in (None, 0.0, 0.3, 1e9):
        right, levels = by_torch(made, x, price)
        outputs, chosen = made(x, price=price)
        torch.testing.assert_close(outputs, right)
        assert torch.equal(chosen, levels)
        spent = sum(made.energies_mj[int(level)] for level in levels) / max(batch, 1)
        assert made.spent_mj == pytest.approx(spent)
        for part in made.model.hidden:
            assert torch.equal(part.ran, chosen)
    assert calls == [batch] * 4
    if batch == 100:
        assert made(x)[1].unique().tolist() == [0, 1, 2]


@torch.no_grad()
def test_what_is_no_float32_matrix_or_lies_apart_is_run_all_the_same() -> None:
    made, x = adaptive()
    right, levels = made(x)
    for same in (x.repeat(1, 2)[:, :20], x.T.contiguous().T):
        outputs, chosen = made(same)
        torch.testing.assert_close(outputs, right)
        assert torch.equal(chosen, levels)
    outputs, _ = made.double()(x.double())
    torch.testing.assert_close(outputs, right.double(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_the_kernels_cannot_run_goes_layer_by_layer(calls: list[int]) -> None:
    made, x = adaptive()
    gained, _ = adaptive(level_gain=True)
    single = LowRankMLP(replace(CONFIG, layer_levels=((4,), (3,)))).eval()
    for other in (
        gained,
        AdaptiveModel(made.model, x, scorer_hidden=3).eval(),
        AdaptiveModel(made.model, x, scorer="first_block").eval(),
        AdaptiveModel(single, x).eval(),
        made.train(),
    ):
        check_outputs(other, x)
    made.eval()
    check_outputs(made.double(), x.double())
    made.float()
    prices = torch.linspace(-1, 1, 100)[:, None]
    _, levels = made(x, price=prices)
    assert levels[:30].float().mean() > levels[-30:].float().mean()
    leaving, _ = adaptive(early_exit=True)
    handle = leaving.model.exit_head.register_forward_hook(lambda *_: None)
    check_outputs(leaving, x)
    handle.remove()
    for watched in (made.model, made.model.hidden[1], made.model.head):
        for register in (watched.register_forward_hook, watched.register_forward_pre_hook):
            handle = register(lambda *_: None)
            check_outputs(made, x)
            handle.remove()
    made.model.forward = lambda x: 2.0 * LowRankMLP.forward(made.model, x)
    assert not torch.allclose(made(x, price=1e9)[0], by_torch(adaptive()[0], x, 1e9)[0])
    del made.model.forward
    assert not calls
    check_outputs(made, x)
    assert calls == [100]


def check_outputs(made: AdaptiveModel, x: Tensor) -> None:
    """What each sample's level puts out, with what the probe counts."""
    outputs, levels = made(x)
    every = forward_levels(made.model, x)
    right = every[levels, torch.arange(len(x))]
    counts = made.probe_weights[levels][:, None]
    torch.testing.assert_close(outputs, right + counts * every[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_autocast_gives_one_type_whatever_the_gate_decides(calls: list[int]) -> None:
    made, x = adaptive()
    with torch.autocast("cpu", torch.bfloat16):
        found = [made(x, price=price)[0] for price in (0.0, 1e9)]
    assert [outputs.dtype for outputs in found] == [torch.bfloat16] * 2
    assert not calls


def test_gradients_of_biases_alone_are_computed(calls: list[int]) -> None:
    made, x = adaptive()
    made.requires_grad_(False)
    bias = made.model.hidden[1].layer.level_bias.requires_grad_()
    made(x)[0].sum().backward()
    assert bias.grad is not None
    assert bias.grad.any()
    assert not calls


@torch.no_grad()
def test_results_are_float32_whatever_the_default_type() -> None:
    made, x = adaptive()
    right, levels = made(x)
    torch.set_default_dtype(torch.float64)
    try:
        outputs, chosen = made(x)
        with at_level(made.model, levels):
            at_levels = made.model(x)
        gated = made.model(x)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(outputs, right)
    assert torch.equal(chosen, levels)
    assert at_levels.dtype == gated.dtype == torch.float32
    torch.testing.assert_close(gated, made.model(x))


@torch.no_grad()
@pytest.mark.parametrize("constant", [False, True])
def test_prices_that_keep_a_budget_do_so_in_one_call(constant: bool) -> None:
    """Prices are found by the gate's own module."""
    made, x = adaptive()
    if constant:
        made.gate.weight.zero_()
    low, high = made.energies_mj[0], made.energies_mj[-1]
    for number in range(40):
        made.gate.bias.fill_(0.1 + 0.01 * number)
        budget = low + (number + 1) / 42 * (high - low)
        price = made.price_for(budget, x)
        levels = made(x, price=price)[1]
        mean = sum(made.energies_mj[int(level)] for level in levels) / len(x)
        assert mean <= budget * (1 + 1e-9)


@torch.no_grad()
def test_gates_that_share_a_network_keep_their_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = adaptive()
    other = AdaptiveModel(made.model, x).eval()
    packed: list[int] = []
    pack = packed_chain._packed_probe

    def noted(*given: object) -> object:
        packed.append(1)
        return pack(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_chain, "_packed_probe", noted)
    for _ in range(3):
        made(x)
        other(x)
    assert len(packed) == 2


@torch.no_grad()
def test_a_pruned_gate_decides_by_what_is_left(calls: list[int]) -> None:
    made, x = adaptive()
    prune.l1_unstructured(made.gate, "weight", amount=4)
    check_outputs(made, x)
    assert not calls
    prune.remove(made.gate, "weight")
    check_outputs(made, x)
    assert calls == [100]


class Doubled(LowRankMLP):
    """A network that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the logits."""
        return 2.0 * super().forward(x)


class Halved(nn.Linear):
    """A head that does."""

    def forward(self, input: Tensor) -> Tensor:
        """Half the outputs."""
        return 0.5 * super().forward(input)


class Modest(GateNetwork):
    """A gate that does."""

    def decide(self, features: Tensor, price: float | Tensor | None = None) -> Tensor:
        """The highest level for all."""
        return torch.full((len(features),), len(self.bias))


class Blind(ConfidenceProbe):
    """A scorer that does."""

    def score(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing but zeros."""
        features, outputs = super().score(model, inputs)
        return torch.zeros_like(features), outputs


class Negative(DynamicLowRankLayer):
    """A layer that does."""

    def _project(self, z: Tensor, low: int = 0) -> Tensor:
        return -super()._project(z, low)


@torch.no_grad()
@pytest.mark.parametrize("changed", [Doubled, Halved, Negative])
def test_classes_that_compute_something_else_do_so(
    changed: type[nn.Module], calls: list[int]
) -> None:
    made, x = adaptive()
    places = {Doubled: made.model, Halved: made.model.head, Negative: made.model.hidden[1].layer}
    before = made(x, price=1e9)[0]
    calls.clear()
    places[changed].__class__ = changed
    outputs, levels = made(x, price=1e9)
    assert not calls
    assert not levels.any()
    assert not torch.allclose(outputs, before)
    torch.testing.assert_close(outputs, by_torch(made, x, 1e9)[0])
    with at_level(made.model, 0):
        torch.testing.assert_close(made.model(x), outputs)


@torch.no_grad()
def test_gates_and_scorers_that_decide_otherwise_do_so(calls: list[int]) -> None:
    made, x = adaptive()
    made.scorer = Blind()
    assert len(made(x)[1].unique()) == 1
    made.scorer = ConfidenceProbe()
    made.gate.__class__ = Modest
    assert (made(x)[1] == 2).all()
    assert not calls


@torch.no_grad()
@pytest.mark.parametrize("early_exit", [False, True])
def test_products_are_counted_as_they_run(early_exit: bool) -> None:
    made, x = adaptive(early_exit=early_exit)
    with FlopCounterMode(display=False) as counter:
        _, levels = made(x)
    runs = torch.tensor(made.macs(x))[levels].sum()
    assert counter.get_total_flops() == 2 * int(runs)


@torch.no_grad()
def test_changes_of_factors_and_gate_are_seen() -> None:
    made, x = adaptive(early_exit=True)
    for change in (
        lambda: made.model.hidden[0].layer.U.mul_(1.1),
        lambda: made.model.hidden[1].layer.V.add_(0.1),
        lambda: made.model.hidden[0].layer.level_bias.add_(0.1),
        lambda: made.model.head.bias.add_(0.1),
        lambda: made.model.exit_head.weight.mul_(1.2),
        lambda: made.gate.weight.mul_(0.7),
        lambda: made.gate.bias.add_(0.2),
        lambda: made.gate.cost.mul_(3.0),
        lambda: made.gate.price.fill_(0.4),
        lambda: made.probe_weights.mul_(2.0),
    ):
        for _ in range(2):
            right, levels = by_torch(made, x)
            outputs, chosen = made(x)
            torch.testing.assert_close(outputs, right)
            assert torch.equal(chosen, levels)
            change()


@torch.no_grad()
def test_a_level_that_is_set_stays_set() -> None:
    made, x = adaptive()
    with at_level(made.model, 1):
        right = made.model(x)
        made(x)
        torch.testing.assert_close(made.model(x), right)


def given(made: AdaptiveModel, x: Tensor) -> tuple[object, ...]:
    """Arguments of the operator."""
    parts = [part.layer.leveled_parts() for part in made.model.hidden]
    head = [part.detach() for part in (made.model.head.weight, made.model.head.bias)]
    gate = made.gate.weight, made.gate.bias, made.gate.cost, made.probe_weights
    return x, parts, head, ProbeParts(*(part.detach() for part in gate)), made.gate.price


@torch.no_grad()
def test_obeys_the_rules_of_operators() -> None:
    x, parts, head, gate, price = given(*adaptive())
    flat = [part.detach() for layer in parts for part in layer]  # type: ignore[attr-defined]
    leaves = [torch.randn(7, 16), torch.randn(7)]
    for exit_head in ([], leaves):
        arguments = (x, flat, head, exit_head, list(gate), price)  # type: ignore[call-overload]
        torch.library.opcheck(torch.ops.adlrns.probed_low_rank.default, arguments)


@torch.no_grad()
def test_a_network_with_one_gate_compiles() -> None:
    torch._dynamo.reset()
    made, x = adaptive()
    right, levels = made(x)
    compiled = torch.compile(made, backend="aot_eager")
    outputs, chosen = compiled(x)
    torch.testing.assert_close(outputs, right)
    assert torch.equal(chosen, levels)


@torch.no_grad()
def test_a_call_without_a_head_is_refused() -> None:
    x, parts, _, gate, price = given(*adaptive())
    with refused(ConfigError, "ADL-KRN-02", where="head", remedy="weight and bias"):
        probed_low_rank(x, parts, [], gate, price)  # type: ignore[arg-type]
