"""Conversion of models: what is replaced, what stays, what it costs, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from adlrns_neuro import PerfEstimator, convert, materialize
from adlrns_neuro.conversion import ConversionReport, LayerReport
from adlrns_neuro.conversion.allocation import RankOptions, allocate_ranks
from adlrns_neuro.layers import DynamicLowRankLayer, Ranked
from adlrns_neuro.ranks import at_level, ranked_layers
from mapping.errors import ConfigError


class ConvNet(nn.Module):
    """Two convolutions, one of them strided, and two linear layers, in a nest."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)),
            nn.ReLU(),
        )
        self.hidden = nn.Linear(12, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.hidden(self.body(x).mean((-2, -1))).relu())
        return answer


def loader(batches: int = 3, shape: Sequence[int] = (3, 8, 8)) -> list[tuple[Tensor, Tensor]]:
    """Inputs that lie near a space of few dimensions, as real ones do."""
    mixing = torch.randn(4, int(np.prod(shape)))
    return [
        (
            (torch.randn(20, 4) @ mixing + 0.1 * torch.randn(20, mixing.shape[1]) + 0.5).reshape(
                20, *shape
            ),
            torch.randint(5, (20,)),
        )
        for _ in range(batches)
    ]


def by_name(report: ConversionReport) -> dict[str, LayerReport]:
    return {layer.name: layer for layer in report.layers}


def outputs_of(model: nn.Module, name: str, x: Tensor) -> Tensor:
    """What the layer of this name answers inside the model."""
    kept: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        model(x)
    handle.remove()
    return kept[0]


def test_layers_are_replaced_in_a_copy_and_reported() -> None:
    model, data = ConvNet(), loader()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    converted, report = convert(model, data, levels=(1, 2, 4))

    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert list(ranked_layers(converted)) == ["body.0", "body.2.0", "hidden", "head"]
    layers = by_name(report)
    assert layers["body.0"].shape == (8, 27)
    assert layers["body.0"].ranks == (1, 2, 4)
    assert layers["body.0"].macs_before == 8 * 27 * 64
    assert layers["body.2.0"].macs_after == tuple(r * (12 + 72) * 16 for r in (1, 2, 4))
    assert layers["head"].ranks == (1, 2)  # rank 4 of 5 x 20 pays no more
    assert layers["head"].weights_after == (25, 50)
    assert report.macs_after(0) < report.macs_after(1) < report.macs_after() < report.macs_before
    assert report.weights_after() == sum(
        part.layer.U.numel() + part.layer.V.numel() for part in ranked_layers(converted).values()
    )
    assert json.loads(json.dumps(report.as_dict()))["macs_before"] == report.macs_before
    assert "level 2" in str(report)
    assert "hidden: Linear 20 x 12, ranks (1, 2, 4)" in str(report)


def test_the_reported_error_is_that_of_the_outputs_on_the_calibration_data() -> None:
    model, data = ConvNet().eval(), loader(1)
    for match_means in (False, True):
        converted, report = convert(model, data, ranks={"body.0": (1, 3)}, match_means=match_means)
        x = data[0][0]
        exact = outputs_of(model, "body.0", x)
        bias = model.body[0].bias[:, None, None]
        for level, error in enumerate(by_name(report)["body.0"].relative_error):
            with at_level(converted, level):
                found = outputs_of(converted, "body.0", x)
            measured = (found - exact).square().sum() / (exact - bias).square().sum()
            assert float(measured.detach().sqrt()) == pytest.approx(error, rel=1e-3)
            if match_means:
                torch.testing.assert_close(
                    found.mean((0, 2, 3)), exact.mean((0, 2, 3)), atol=1e-5, rtol=1e-4
                )


def test_whitening_and_means_lower_the_error() -> None:
    model, data = ConvNet(), loader()
    errors = []
    for options in (
        {"method": "plain", "match_means": False},
        {"method": "whitened", "match_means": False},
        {},
    ):
        _, report = convert(model, data, ranks={"hidden": 2}, **options)
        errors.append(by_name(report)["hidden"].relative_error[0])
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("level", [0, 1, None])
def test_a_materialized_model_is_plain_and_answers_the_same(level: int | None) -> None:
    model, data = ConvNet().eval(), loader()
    converted, _ = convert(model, data, levels=(2, 3))
    with torch.no_grad():
        for part in ranked_layers(converted).values():
            part.layer.gate.requires_grad_(False)
    plain = materialize(converted, level)
    assert not any(isinstance(part, Ranked) for part in plain.modules())
    kinds = {type(part).__module__.split(".")[0] for part in plain.modules()}
    assert kinds <= {"torch", type(model).__module__.split(".")[0]}
    with at_level(converted, 1 if level is None else level):
        torch.testing.assert_close(plain(data[0][0]), converted(data[0][0]))


def test_materialize_fuses_what_a_pair_does_not_pay_for_and_folds_gains() -> None:
    layer = DynamicLowRankLayer(6, 4, levels=(1, 4), level_bias=True, level_gain=True)
    with torch.no_grad():
        layer.level_bias.normal_()
        layer.level_gain.normal_()
    x = torch.randn(3, 6)
    pair, fused = materialize(Ranked(layer), 0), materialize(Ranked(layer))
    assert isinstance(fused, nn.Linear)
    assert isinstance(pair, nn.Sequential)
    torch.testing.assert_close(pair(x), layer.at_rank(x, 1))
    torch.testing.assert_close(fused(x), layer.at_rank(x, 4))
    with refused(ConfigError, "ADL-CNV-07", where="materialize.level", remedy="0 to 1"):
        materialize(Ranked(layer), 2)
    with refused(ConfigError, "ADL-RNK-01", where="Linear"):
        materialize(fused)


def test_shared_weights_stay_shared() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Linear(9, 9)
            self.again = self.twice
            self.near = nn.Linear(9, 9)
            self.near.weight = self.twice.weight
            self.table = nn.Embedding(7, 9)
            self.head = nn.Linear(9, 7)
            self.head.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.head(self.near(self.again(self.twice(x).relu()).relu()))
            return answer

    data = loader(2, (9,))
    model = Tied()
    converted, report = convert(model, data, levels=(2, 4))
    assert converted.twice is converted.again
    assert converted.near is not converted.twice
    assert converted.near.layer.U is converted.twice.layer.U
    assert converted.near.layer.level_bias is not converted.twice.layer.level_bias
    layers = by_name(report)
    assert layers["twice"].also == ("again", "near")
    assert layers["twice"].macs_before == 3 * 81
    assert "shared" in (layers["head"].reason or "")
    plain = materialize(converted)
    assert plain.twice is plain.again
    assert plain.near[0].weight is plain.twice[0].weight
    torch.testing.assert_close(plain(data[0][0]), converted(data[0][0]))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_what_cannot_be_replaced_is_left_alone_with_the_reason() -> None:
    class Own(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1.0

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(4, 16, 3)
            self.groups = nn.Conv2d(16, 16, 3, groups=4)
            self.depthwise = nn.Conv2d(16, 16, 3, groups=16)
            self.mirrored = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")
            self.uneven = nn.Conv2d(16, 16, 2, padding="same")
            self.own = Own(16, 16)
            self.normed = parametrizations.weight_norm(nn.Linear(16, 16))
            self.narrow = nn.Linear(16, 1)
            self.idle = nn.Linear(16, 16)
            self.silent = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            x = self.mirrored(self.depthwise(self.groups(self.first(x))))
            x = self.normed(self.own(self.uneven(x).mean((-2, -1))))
            return self.narrow(x) + self.silent(torch.zeros_like(x)).sum()

    _, report = convert(Mixed(), loader(1, (4, 9, 9)), levels=(2,))
    reasons = {layer.name: layer.reason for layer in report.layers}
    assert reasons.pop("first") is None
    expected = {
        "groups": "in 4 groups",
        "depthwise": "in 16 groups",
        "mirrored": "'reflect'",
        "uneven": "unevenly",
        "own": "Own has a forward of its own",
        "normed": "other parameters",
        "narrow": "no rank",
        "idle": "not called",
        "silent": "do not vary",
    }
    assert reasons.keys() == expected.keys()
    for name, part in expected.items():
        assert part in (reasons[name] or ""), name
        assert f"{name}: " in str(report)


@pytest.mark.parametrize("cost", ["macs", "weights", "mj"])
def test_a_budget_is_kept_and_spent(cost: str) -> None:
    model, data = ConvNet().eval(), loader()
    converted, report = convert(model, data, share=0.6, cost=cost)
    if cost == "mj":
        estimator = PerfEstimator()
        spent = full = 0.0
        for name, layer in by_name(report).items():
            assert layer.shape is not None
            (out, fan_in), positions = layer.shape, round(layer.macs_before / layer.weights_before)
            sizes = {"positions": positions, "activations": activations(model, name, data)}
            dense = estimator.estimate_dense(fan_in, out, **sizes).energy_mj
            full += dense
            spent += (
                estimator.estimate(fan_in, out, layer.ranks[0], **sizes).energy_mj
                if layer.ranks
                else dense
            )
        assert 0.5 < spent / full <= 0.6 + 1e-9
        return
    after, before = (
        (report.macs_after(), report.macs_before)
        if cost == "macs"
        else (report.weights_after(), report.weights_before)
    )
    assert 0.5 < after / before <= 0.6
    absolute, same = convert(model, data, budget=0.6 * before, cost=cost)
    assert same == report
    assert absolute.state_dict().keys() == converted.state_dict().keys()


def activations(model: nn.Module, name: str, data: list[tuple[Tensor, Tensor]]) -> int:
    counts: list[int] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _, args, out: counts.append((args[0].numel() + out.numel()) // len(out))
    )
    model(data[0][0])
    handle.remove()
    return counts[0]


def test_several_budgets_become_levels() -> None:
    converted, report = convert(ConvNet(), loader(), share=(0.4, 0.6, 0.8))
    assert report.levels >= 2
    for level, share in enumerate((0.4, 0.6, 0.8)):
        assert report.macs_after(level) <= share * report.macs_before
    assert report.macs_after(0) < report.macs_after(1) < report.macs_after(2)
    assert converted(loader()[0][0]).shape == (20, 5)


def test_what_the_loss_needs_keeps_its_rank() -> None:
    """Two equal branches, one of which counts a hundredfold."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loud, self.quiet = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return 100.0 * self.loud(x) + self.quiet(x)

    data = [torch.randn(50, 16) for _ in range(2)]
    model = Branches()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    _, report = convert(model, data, share=0.6, in_place=False)
    layers = by_name(report)
    assert layers["loud"].reason is not None or layers["loud"].ranks > layers["quiet"].ranks
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    _, report = convert(model, data, share=0.6, loss=quiet_loss(model))
    layers = by_name(report)
    assert layers["quiet"].reason is not None or layers["quiet"].ranks > layers["loud"].ranks


def quiet_loss(full: nn.Module) -> Callable[[nn.Module, object], Tensor]:
    def loss(model: nn.Module, batch: object) -> Tensor:
        return (model.quiet(batch) - full.quiet(batch)).square().mean()

    return loss


def test_the_allocation_is_the_best_of_all_choices() -> None:
    rng = np.random.default_rng(0)
    layers = [
        RankOptions(
            ranks=(1, 2, 4, None),
            costs=tuple(np.cumsum(rng.uniform(0.5, 1.5, 4)).tolist()),
            losses=(*sorted(rng.uniform(0.1, 3.0, 3).tolist(), reverse=True), 0.0),
        )
        for _ in range(4)
    ]
    best = np.inf
    for choice in np.ndindex(4, 4, 4, 4):
        pairs = [(layer.costs[i], layer.losses[i]) for layer, i in zip(layers, choice, strict=True)]
        cost, loss = np.sum(pairs, axis=0)
        best = min(best, loss) if cost + 1.0 <= 11.0 else best
    (answer,) = allocate_ranks(layers, [11.0], fixed_cost=1.0)
    picked = [layer.ranks.index(rank) for layer, rank in zip(layers, answer, strict=True)]
    found = sum(layer.losses[i] for layer, i in zip(layers, picked, strict=True))
    assert found == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_is_converted_and_answers_as_torchs_own(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, kdim=6, vdim=5)

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: Tensor) -> Tensor:
            axis = 0 if batch_first else 1
            q, k, v = (t.movedim(0, axis) for t in (x[..., :8], x[..., 8:14], x[..., 14:]))
            answer: Tensor = self.attention(q, k, v)[0]
            return answer

    x = torch.randn(30, 7, 19)
    model = Cross().eval()
    exact = {"attention.q_proj": 8, "attention.k_proj": 6, "attention.v_proj": 5}
    converted, report = convert(model, [x], ranks=exact | {"attention.out_proj": 8})
    torch.testing.assert_close(converted(x), model(x), atol=1e-4, rtol=1e-3)
    assert {layer.name for layer in report.layers} == exact.keys() | {"attention.out_proj"}
    for key in (x[0, :, 8:14], x[:, :, 8:14].movedim(0, 0 if batch_first else 1)):
        unbatched = key.ndim == 2
        q = x[0, :, :8] if unbatched else x[..., :8].movedim(0, 0 if batch_first else 1)
        v = x[0, :, 14:] if unbatched else x[..., 14:].movedim(0, 0 if batch_first else 1)
        padding = torch.zeros(7, dtype=torch.bool).index_fill(0, torch.tensor([6]), True)
        for options in (
            {"average_attn_weights": False},
            {"attn_mask": torch.triu(torch.ones(7, 7, dtype=torch.bool), 1), "is_causal": True},
            {"attn_mask": torch.randn(2 if unbatched else 60, 7, 7)},
            {"key_padding_mask": padding if unbatched else padding.expand(30, 7)},
            {"need_weights": False, "key_padding_mask": padding}
            if unbatched
            else {"need_weights": False, "key_padding_mask": padding.expand(30, 7)},
        ):
            ours, theirs = (a(q, key, v, **options) for a in (converted.attention, attention))
            torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=1e-3)
            if theirs[1] is None:
                assert ours[1] is None
            else:
                torch.testing.assert_close(ours[1], theirs[1], atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_transformer_runs_without_its_fast_path() -> None:
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(block, 2).eval()
    data = [torch.randn(12, 5, 16)]
    converted, report = convert(model, data, levels=(4, 7))
    assert len(ranked_layers(converted)) == 2 * 6
    assert not any(layer.reason for layer in report.layers)
    mask = torch.arange(5) >= torch.randint(2, 6, (12, 1))
    plain = materialize(converted)
    with torch.no_grad():
        for options in ({}, {"src_key_padding_mask": mask}):
            torch.testing.assert_close(plain(data[0], **options), converted(data[0], **options))
        whole, _ = convert(model, data, ranks={"layers.0.linear1": 16})
        torch.testing.assert_close(
            whole(data[0], src_key_padding_mask=mask)[~mask],
            model(data[0], src_key_padding_mask=mask)[~mask],
            atol=1e-4,
            rtol=1e-3,
        )


def test_an_attention_with_keys_of_its_own_is_left_alone() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
            self.head = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.head(self.attention(x, x, x)[0])
            return answer

    converted, report = convert(Odd(), [torch.randn(6, 9, 8)], levels=(3,))
    layers = by_name(report)
    assert "of its own" in (layers["attention"].reason or "")
    assert "not called" in (layers["attention.out_proj"].reason or "")
    assert list(ranked_layers(converted)) == ["head"]


def test_models_of_named_inputs_and_other_answers_convert() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(9, 9)

        def forward(self, *, signal: Tensor, mask: Tensor) -> dict[str, Tensor]:
            return {"answer": self.body(input=signal) * mask}

    data = [{"signal": torch.randn(30, 9), "mask": torch.ones(30, 1)} for _ in range(2)]
    converted, report = convert(Named().train(), data, levels=(2,))
    assert by_name(report)["body"].macs_before == 81
    assert converted.training
    assert converted(**data[0])["answer"].shape == (30, 9)
    with refused(ConfigError, "ADL-CNV-06", where="loss", message="dict", remedy="loss=f"):
        convert(Named(), data, share=0.6)
    half, _ = convert(Named(), data, share=0.6, loss=lambda m, b: m(**b)["answer"].square().mean())
    assert list(ranked_layers(half)) == ["body"]


def test_in_place_changes_the_model_itself_and_keeps_its_type() -> None:
    model = ConvNet().to(torch.bfloat16).train()
    data = [x.bfloat16() for x, _ in loader()]
    converted, _ = convert(model, data, r_min=1, r_max=4, in_place=True, scorer_hidden=3)
    assert converted is model
    layer = ranked_layers(model)["body.0"].layer
    assert layer.levels == (1, 2, 4)
    assert layer.U.dtype == torch.bfloat16
    assert layer.gate.scorer_hidden == 3
    model(data[0]).sum().backward()
    assert layer.V.grad is not None


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"levels": (1, 2), "share": 0.5},
        {"r_min": 1},
        {"r_min": 1, "r_max": 4, "levels": (1,)},
        {"budget": 1.0, "share": 0.5},
        {"share": 0.0},
        {"share": (0.5, 0.4)},
        {"budget": ()},
    ],
)
def test_ranks_are_given_in_one_way(ways: dict[str, object]) -> None:
    with refused(ConfigError, "ADL-CNV-01", where="convert"):
        convert(ConvNet(), loader(), **ways)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with refused(ConfigError, "ADL-CNV-02", where="ranks", remedy="did you mean 'hidden'?"):
        convert(ConvNet(), loader(), ranks={"hiden": 2})
    with refused(ConfigError, "ADL-LAY-01", where="levels", remedy="none above 12"):
        convert(ConvNet(), loader(), ranks={"hidden": 13})


@pytest.mark.parametrize("share", [0.01, (0.3, 0.3001)])
def test_a_budget_that_no_ranks_keep_is_refused(share: object) -> None:
    with refused(ConfigError, "ADL-CNV-03", where="budget", remedy="or more"):
        convert(ConvNet(), loader(), share=share)


@pytest.mark.parametrize("data", [[], ["text"], [{"x": 1}]])
def test_a_loader_without_samples_is_refused(data: list[object]) -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x: object) -> object:
            return x

    with refused(ConfigError, "ADL-CNV-04", where="calibration_loader"):
        convert(Deaf(), data, levels=(1,))


def test_a_loader_that_can_be_read_once_measures_no_sensitivity() -> None:
    convert(ConvNet(), iter(loader()), levels=(2,))
    with refused(ConfigError, "ADL-CNV-04", where="calibration_loader", remedy="more than once"):
        convert(ConvNet(), iter(loader()), share=0.5)


def test_a_model_in_which_nothing_can_be_replaced_is_refused() -> None:
    with refused(ConfigError, "ADL-CNV-05", where="ConvNet", message="head, none of the levels"):
        convert(ConvNet(), loader(), levels=(20,))
    with refused(ConfigError, "ADL-CNV-05", where="ReLU", message="there is none"):
        convert(nn.ReLU(), [torch.ones(3, 2)], levels=(1,))
