"""What a probe's answer counts beside that of a higher level."""

from __future__ import annotations

import pytest
import torch
from support.errors import refused
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro import AdaptiveModel
from adlrns_neuro.gates.scorers import SCORERS
from adlrns_neuro.gates.stacking import stacking_weights
from adlrns_neuro.models import LowRankMLP, MlpConfig
from adlrns_neuro.ranks import forward_levels
from mapping.errors import ConfigError

CLASSES = 5


def answers(*noise: float, samples: int = 4000) -> tuple[Tensor, Tensor]:
    """Logits of levels that know the labels, each under noise of its own."""
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (samples,))
    truth = F.one_hot(labels, CLASSES).float()
    return torch.stack([(truth + s * torch.randn_like(truth)) / s**2 for s in noise]), labels


@pytest.mark.parametrize("noise", [(2.0, 1.0), (1.0, 1.0), (1.5, 0.8)])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_independent_answers_count_by_what_they_know(
    noise: tuple[float, float], scale: float
) -> None:
    """Logits under Gaussian noise, over its variance, add up to those that both together give; a
    level that is too sure of itself counts as much as it would otherwise.
    """
    logits, labels = answers(*noise)
    logits[1] *= scale
    weights = stacking_weights(logits, labels)
    assert weights[0] == 0
    assert weights[1] == pytest.approx(min(scale, 1.0), abs=0.1)


def test_the_weight_is_the_best_one() -> None:
    logits, labels = answers(1.2, 1.0)
    weight = float(stacking_weights(logits, labels)[1])

    def loss(weight: float) -> float:
        mixed = (logits[1] + weight * logits[0]).double()
        scales = torch.linspace(0.05, 1.5, 500, dtype=torch.float64)
        return min(float(F.cross_entropy(scale * mixed, labels)) for scale in scales)

    assert 0.2 < weight < 1.0
    assert loss(weight) < min(loss(weight - 0.1), loss(weight + 0.1))


def test_weights_stay_between_nothing_and_as_much() -> None:
    logits, labels = answers(1.0, 1.0)
    harmful = stacking_weights(torch.stack([-logits[0], logits[1]]), labels)
    needed = stacking_weights(torch.stack([logits[0], -logits[1]]), labels)
    assert harmful.tolist() == [0, 0]
    assert needed.tolist() == [0, 1]
    same = stacking_weights(torch.stack([logits[0]] * 2), labels)
    assert same.isfinite().all()


CONFIG = MlpConfig(
    inputs=20, hidden=(16, 12), classes=CLASSES, levels=(2, 4, 8), dropout=0.0, level_bias=True
)


@pytest.mark.parametrize("scorer", SCORERS.names())
@pytest.mark.parametrize("stacked", [False, True])
def test_a_fitted_model_weighs_its_probe(scorer: str, stacked: bool) -> None:
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    x = torch.randn(600, 20)
    labels = forward_levels(model, x).sum(dim=0).argmax(dim=-1)
    made = AdaptiveModel(model, x, scorer=scorer).eval()
    made.fit(x, labels, stacked=stacked)

    weighs = stacked and scorer == "confidence_probe"
    assert (made.probe_weights > 0).tolist() == [False, weighs, weighs]
    every = forward_levels(model, x)
    for given in (x, x.clone().requires_grad_()):  # By the kernels, and by torch.
        outputs, levels = made(given, price=-1e3)
        assert (levels == 2).all()
        right = every[levels, torch.arange(len(x))]
        right = right + made.probe_weights[levels][:, None] * every[0]
        torch.testing.assert_close(outputs, right)


def test_fits_in_inference_mode() -> None:
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    x, labels = torch.randn(300, 20), torch.randint(CLASSES, (300,))
    made, other = (AdaptiveModel(model, x) for _ in range(2))
    made.fit(x, labels, stacked=True)
    with torch.inference_mode():
        other.fit(x, labels, stacked=True)
    torch.testing.assert_close(other.probe_weights, made.probe_weights)
    torch.testing.assert_close(other.gate.weight, made.gate.weight)


def test_a_fit_that_fails_changes_nothing() -> None:
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    x, labels = torch.randn(300, 20), torch.randint(CLASSES, (300,))
    made = AdaptiveModel(model, x)
    made.fit(x, labels, stacked=True)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    spoiled = x.clone()
    spoiled[3, 2] = torch.nan
    with refused(ConfigError, "ADL-GAT-02", where="GateNetwork", remedy="finite features"):
        made.fit(spoiled, labels, stacked=True)
    with refused(ConfigError, "ADL-TRN-03", where="AdaptiveModel.fit.labels", message="to 5"):
        made.fit(x, labels + 1, stacked=True)
    for name, value in made.state_dict().items():
        assert torch.equal(value, before[name])


def test_gains_are_those_of_what_is_put_out() -> None:
    """A level that is nothing but the probe's opposite gains nothing, weighed or not."""
    torch.manual_seed(0)
    model = LowRankMLP(CONFIG).eval()
    x = torch.randn(600, 20)
    labels = forward_levels(model, x)[0].argmax(dim=-1)
    made = AdaptiveModel(model, x).eval()
    made.fit(x, labels, stacked=True)
    every = forward_levels(model, x)
    mixed = every + made.probe_weights[:, None, None] * every[0]
    wrong = 1 - mixed.softmax(dim=-1).gather(-1, labels.expand(3, -1)[..., None])[..., 0]
    features, _ = made.scorer.score(model, x)
    predicted = made.gate.gains(features).mean(dim=0)
    torch.testing.assert_close(predicted, (wrong[:-1] - wrong[1:]).mean(dim=1))
