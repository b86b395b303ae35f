"""Calls that are made again by the shortest way, and what makes them be prepared anew."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel
from adlrns_neuro.functional import packed_chain
from adlrns_neuro.layers.repeat import Repeat
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import ranked_layers
from adlrns_neuro.schedulers import RankScheduler

WIDE = 16
CONFIG = MlpConfig(
    inputs=20, hidden=(WIDE, WIDE), classes=4, levels=(2, 4, WIDE), dropout=0.0, level_bias=True
)


def gated() -> tuple[LowRankMLP, Tensor]:
    """A network with gates that send samples everywhere."""
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    with torch.no_grad():
        for part in ranked_layers(model).values():
            part.layer.level_bias.normal_(std=0.3)
            part.layer.gate.weight.normal_()
            part.layer.gate.bias.zero_()
    return model, torch.randn(50, 20)


def probed() -> tuple[AdaptiveModel, Tensor]:
    """The same with one gate."""
    model, x = gated()
    made = AdaptiveModel(model, x).eval()
    with torch.no_grad():
        features, _ = made.scorer.score(model, x)
        made.gate.weight.normal_()
        made.gate.bias -= made.gate.gains(features).quantile(0.4, dim=0)
        made.probe_weights.copy_(torch.tensor([0.0, 0.5, 0.3]))
    return made, x


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every call, whether it was made again as it was."""
    seen: list[bool] = []
    ask = Repeat.again

    def noted(self: Repeat[object], *given: object) -> object:
        found = ask(self, *given)  # type: ignore[arg-type]
        seen.append(found is not None)
        return found

    monkeypatch.setattr(Repeat, "again", noted)
    return seen


def first(model: nn.Module) -> Any:
    """The first layer."""
    return next(iter(ranked_layers(model).values())).layer


def network(model: nn.Module) -> Any:
    """The perceptron itself."""
    found = model.model if isinstance(model, AdaptiveModel) else model
    assert isinstance(found, LowRankMLP)
    return found


def choosing(model: nn.Module) -> Any:
    """The gate, or the first layer's."""
    return model.gate if isinstance(model, AdaptiveModel) else first(model).gate


class Doubled(nn.Linear):
    """A matrix that puts out twice as much."""

    def forward(self, input: Tensor) -> Tensor:
        """Twice the outputs."""
        return 2.0 * super().forward(input)


def replaced_head(model: Any) -> None:
    network(model).head = nn.Linear(WIDE, 4)


def replaced_layer(model: Any) -> None:
    network(model).hidden[1] = LowRankMLP(CONFIG).eval().hidden[1]


def replaced_parameter(model: Any) -> None:
    first(model).U = nn.Parameter(torch.randn(WIDE, WIDE))


def other_memory(model: Any) -> None:
    first(model).V.data = torch.randn(20, WIDE)


def other_shape(model: Any) -> None:
    first(model).U.data = first(model).U.data.t()


def other_gate(model: Any) -> None:
    choosing(model).weight.mul_(-1)


def other_price(model: Any) -> None:
    choosing(model).price.fill_(0.6)


def other_class(model: Any) -> None:
    network(model).head.__class__ = Doubled


def other_function(model: Any) -> None:
    head = network(model).head
    head.forward = lambda x: 3.0 * nn.Linear.forward(head, x)


def hook(model: Any) -> None:
    network(model).head.register_forward_hook(lambda *given: 4.0 * given[2])


def pre_hook(model: Any) -> None:
    network(model).hidden[1].register_forward_pre_hook(lambda _, given: (2.0 * given[0],))


def other_type(model: Any) -> None:
    model.double()
    model.float()


CHANGES: list[Callable[[Any], None]] = [
    *(replaced_head, replaced_layer, replaced_parameter, other_memory, other_shape, other_gate),
    *(other_price, other_class, other_function, hook, pre_hook, other_type),
]


@pytest.mark.parametrize("make", [gated, probed])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(
    make: Callable[[], tuple[Any, Tensor]],
    change: Callable[[Any], None],
    again: list[bool],
) -> None:
    model, x = make()
    again.clear()
    with torch.no_grad():
        for _ in range(3):
            before = model(x)
        assert again == [False, True, True]
        change(model)
        outputs = model(x)
        assert not again[3]
        changed = model(x)
        with torch.enable_grad():
            right = model(x)  # By torch.
    torch.testing.assert_close(outputs, right)
    torch.testing.assert_close(changed, right)
    if change is not other_type:
        logits = [found[0] if isinstance(found, tuple) else found for found in (outputs, before)]
        assert not torch.allclose(*logits)


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
@pytest.mark.parametrize("shared", ["U", "gate", "ranked layer"])
def test_a_network_may_share_tensors(
    make: Callable[[], tuple[Any, Tensor]], shared: str, again: list[bool]
) -> None:
    model, x = make()
    hidden = network(model).hidden
    wide = LowRankMLP(replace(CONFIG, inputs=WIDE)).eval().hidden[0]
    hidden[1] = wide
    if shared == "U":
        hidden[0].layer.U = wide.layer.U
    elif shared == "gate":
        hidden[0].layer.gate = wide.layer.gate
    else:
        hidden.append(wide)
    again.clear()
    found = [model(x) for _ in range(3)]
    assert again == [False, True, True]
    with torch.enable_grad():
        torch.testing.assert_close(found[-1], model(x))
    wide.layer.U.mul_(-2)
    wide.layer.gate.bias.add_(0.1)
    with torch.enable_grad():
        right = model(x)
    torch.testing.assert_close(model(x), right)
    assert not again[-1]


@pytest.mark.parametrize("make", [gated, probed])
def test_modes_without_gradients_may_take_turns(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    model, x = make()
    again.clear()
    for mode in 2 * (torch.no_grad, torch.inference_mode):
        with mode():
            model(x)
    assert again == [False, True, True, True]


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
@pytest.mark.parametrize("held", ["buffer", "module", "parameter"])
def test_what_joins_a_module_is_seen(
    make: Callable[[], tuple[Any, Tensor]], held: str, again: list[bool]
) -> None:
    model, x = make()
    right = model(x)
    again.clear()
    head = network(model).head
    if held == "buffer":
        head.register_buffer("extra", torch.zeros(1))
    elif held == "module":
        head.add_module("extra", nn.Identity())
    else:
        head.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    torch.testing.assert_close(model(x), right)
    assert again == [False]


@torch.no_grad()
@pytest.mark.parametrize("key", ["level", "decide", "scheduler"])
def test_what_decides_in_the_place_of_gates_is_seen(key: str, again: list[bool]) -> None:
    model, x = gated()
    model(x)
    settings = {
        "level": torch.ones(50, dtype=torch.int64),
        "decide": lambda first: torch.ones(len(first), dtype=torch.int64),
        "scheduler": RankScheduler("fixed", r_min=2, r_max=WIDE, rank=4),
    }
    setattr(model.hidden[1], key, settings[key])
    model(x)
    assert again == [False, False]
    ran = model.hidden[1].ran
    if key == "scheduler":
        assert ran.max() == 1
    else:
        assert (ran == 1).all()


@torch.no_grad()
def test_prices_may_differ_from_call_to_call(again: list[bool]) -> None:
    own, x = gated()
    one, _ = probed()
    for number, price in enumerate((None, 0.0, 1e12, 0.0, None)):
        for part in ranked_layers(own).values():
            part.price_per_mj = price
        one.price_per_mj = price
        for model in (own, one):
            with torch.enable_grad():
                right = model(x)
            again.clear()
            torch.testing.assert_close(model(x), right)
            assert again == [number > 0]


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
def test_a_training_network_is_not_run_so(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    model, x = make()
    model(x)
    again.clear()
    first(model).train()
    model(x)
    first(model).eval()
    network(model).train()
    model(x)
    assert not any(again)


@pytest.mark.parametrize("make", [gated, probed])
def test_gradients_are_not_lost(make: Callable[[], tuple[Any, Tensor]]) -> None:
    model, x = make()
    with torch.no_grad():
        model(x)
    found = model(x)
    logits = found[0] if isinstance(found, tuple) else found
    logits.sum().backward()
    assert network(model).head.weight.grad is not None


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
def test_what_torch_watches_is_an_operator(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    model, x = make()
    model(x)
    again.clear()
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() > 0
    with torch.autocast("cpu", torch.bfloat16):
        model(x)

    class Watching(TorchFunctionMode):
        def __torch_function__(self, call, types, given=(), named=None):  # type: ignore[no-untyped-def]
            return call(*given, **(named or {}))

    with Watching():
        model(x)
    with profile() as seen:
        model(x)
    assert any(event.key.startswith("adlrns::") for event in seen.key_averages())
    assert not any(again)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_network_takes_other_samples() -> None:
    model, x = gated()
    model(x)
    traced = torch.jit.trace(model, x[:7], check_trace=False)
    torch.testing.assert_close(traced(x[7:14]), model(x[7:14]))


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
@pytest.mark.parametrize("same", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_stand_for_themselves(
    make: Callable[[], tuple[Any, Tensor]],
    same: Callable[[Any], Any],
    again: list[bool],
) -> None:
    model, x = make()
    again.clear()
    before = model(x)
    other = same(model)
    torch.testing.assert_close(other(x), before)
    first(other).U.mul_(2)
    assert again == [False, False]
    torch.testing.assert_close(model(x), before)
    assert again[-1]


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
def test_a_network_that_was_made_in_inference_mode_is_prepared_each_time(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    with torch.inference_mode():
        model, x = make()
        for _ in range(2):
            found = model(x)
        first(model).V.mul_(-2)
        changed = model(x)
    assert not any(again)
    logits = [part[0] if isinstance(part, tuple) else part for part in (found, changed)]
    assert not torch.allclose(*logits)


@torch.no_grad()
def test_samples_that_do_not_fit_are_prepared_for(again: list[bool]) -> None:
    model, x = gated()
    right = model(x)
    for same in (x.repeat(1, 2)[:, :20], x.T.contiguous().T):
        torch.testing.assert_close(model(same), right)
    assert not any(again)
    with pytest.raises(Exception, match="20"):
        model(x[:, :19])
    with pytest.raises(RuntimeError, match="dtype"):
        model(x.double())


@torch.no_grad()
@pytest.mark.parametrize("name", ["weight", "bias", "cost", "price"])
def test_gates_of_any_type_are_watched(name: str) -> None:
    model, x = gated()
    for part in ranked_layers(model).values():
        part.layer.gate.double()
        part.layer.gate.price = torch.tensor(1)
    before = model(x)
    getattr(first(model).gate, name).mul_(-2).sub_(100)
    found = model(x)
    assert not torch.allclose(found, before)
    torch.testing.assert_close(found, copy.deepcopy(model)(x))


@torch.no_grad()
def test_fewer_levels_are_seen() -> None:
    model, x = gated()
    model(x)
    for part in model.hidden:
        part.layer.levels = part.layer.levels[:2]
    model(x)
    assert model.hidden[0].chosen.max() == 4


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
def test_samples_that_are_not_what_lies_in_memory(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    model, x = make()
    model(x)
    again.clear()
    minus = (x + 1j * x).conj().imag.as_strided((50, 20), (40, 2)).contiguous()
    negative = torch._neg_view(x)  # type: ignore[attr-defined]
    none = torch._efficientzerotensor((50, 20))  # type: ignore[attr-defined]
    for given, same in ((negative, -x), (none, 0 * x), (minus, -x)):
        torch.testing.assert_close(model(given), model(same))
    assert again[::2] == [False, False, True]


class Marked(Tensor):
    """A tensor of a class of its own."""


@torch.no_grad()
@pytest.mark.parametrize("make", [gated, probed])
def test_parameters_of_other_classes_are_left_to_operators(
    make: Callable[[], tuple[Any, Tensor]], again: list[bool]
) -> None:
    model, x = make()
    right = model(x)
    head = network(model).head
    head.weight = nn.Parameter(head.weight.detach().as_subclass(Marked))
    again.clear()
    for _ in range(2):
        torch.testing.assert_close(plain(model(x)), plain(right))
    assert not any(again)


def plain(found: object) -> Tensor:
    """Outputs alone, of torch's own class."""
    outputs = found[0] if isinstance(found, tuple) else found
    assert isinstance(outputs, Tensor)
    return outputs.as_subclass(Tensor)


@torch.no_grad()
@pytest.mark.parametrize("name", ["packed_gates", "packed_probe"])
@pytest.mark.parametrize("change", [other_gate, hook])
def test_a_change_while_a_call_is_noted_is_seen(
    name: str, change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = gated() if name == "packed_gates" else probed()
    model(x)
    for run in model.modules():
        if hasattr(run, "_repeat"):
            run._repeat.forget()
    pack = getattr(packed_chain, name)
    packings: list[object] = []

    def late(*given: object, **named: object) -> object:
        packings.append(pack(*given, **named))
        if len(packings) == 2:  # The operator has run; the call is being noted.
            change(model)
        return packings[-1]

    monkeypatch.setattr(packed_chain, name, late)
    model(x)
    found = model(x)
    with torch.enable_grad():
        torch.testing.assert_close(found, model(x))
    assert len(packings) > 1


@pytest.mark.parametrize("make", [gated, probed])
def test_what_a_fused_optimiser_has_changed_is_seen(
    make: Callable[[], tuple[Any, Tensor]],
) -> None:
    model, x = make()
    with torch.no_grad():
        for _ in range(2):
            before = model(x)
    inner = network(model).train()
    optimiser = torch.optim.Adam(inner.parameters(), lr=0.1, fused=True)
    plain(model(x)).sum().backward()
    optimiser.step()
    inner.eval()
    with torch.no_grad():
        found = model(x)
    right = model(x)
    torch.testing.assert_close(found, right)
    assert not torch.allclose(plain(found), plain(before))


@torch.no_grad()
def test_training_leaves_nothing_of_the_last_call() -> None:
    model, x = gated()
    model(x)
    head = weakref.ref(model.head)
    model.head = nn.Linear(WIDE, 4)
    model.train()
    gc.collect()
    assert head() is None


@torch.no_grad()
def test_what_cannot_be_made_again_is_not_prepared_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    prepare = packed_chain.packed_gates

    def noted(*given: object, **named: object) -> object:
        made.append(given)
        return prepare(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_chain, "packed_gates", noted)
    model, x = gated()
    model(x)
    assert len(made) == 2  # By the operator, and for the next call.
    for _ in range(3):
        model(x.T.contiguous().T)
    assert len(made) == 5
    with torch.inference_mode():
        other, _ = gated()
        for _ in range(3):
            other(x)
    assert len(made) == 8


@torch.no_grad()
def test_a_price_may_be_any_number() -> None:
    model, x = probed()
    right = model(x, price=0.3)
    for price in (np.float32(0.3), np.array(0.3), np.float64(0.3)):
        torch.testing.assert_close(model(x, price=price), right)
