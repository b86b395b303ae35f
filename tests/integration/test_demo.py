"""The demo with a short training, all the way once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adlrns_neuro.demo import DemoResult, demo_lines, run_demo
from adlrns_neuro.recipe import Recipe, digits_recipe
from mapping.artifact.read import load_artifact, load_report
from simulators.curve import load_curve
from simulators.trace import load_trace

pytestmark = pytest.mark.lava


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> DemoResult:
    recipe = digits_recipe()
    short = replace(recipe.training, teacher_epochs=12, nested_epochs=24)
    return run_demo(
        folder, Recipe(snn=recipe.snn, training=short), compared_samples=8, progress=False
    )


def test_one_program_serves_seven_budgets_beside_its_baselines(
    demo: DemoResult, folder: Path
) -> None:
    assert load_curve(folder / "curve.json") == demo.curve
    points = demo.curve.adaptive.falling()
    assert len(points) == 7
    assert all(point.accuracy is not None and point.accuracy > 0.7 for point in points)
    assert points[0].dynamic_j > 1.2 * points[-1].dynamic_j
    assert points[0].mean_rank["encoder"] > 1.5 * points[-1].mean_rank["encoder"]
    assert [b.name for b in demo.curve.baselines] == ["rank-8", "rank-16", "rank-24", "dense"]
    dense = demo.curve.baselines[-1]
    assert dense.kind == "dense"
    assert dense.dynamic_j > 1.5 * points[0].dynamic_j


def test_backends_agree_at_three_budgets(demo: DemoResult) -> None:
    assert demo.backends == ("oracle", "chip", "lava")
    assert demo.compared_samples == 8
    most, middle, least = demo.compared_budgets_j
    assert most > middle > least


def test_cores_go_dark_as_the_budget_falls(demo: DemoResult) -> None:
    dark = [
        sum(share == 1.0 for share in point.core_dark_share)
        for point in demo.curve.adaptive.falling()
    ]
    assert dark == sorted(dark)
    assert dark[0] == 0
    assert dark[-1] >= 1


def test_integers_follow_the_float_network(demo: DemoResult) -> None:
    integer = [point.accuracy for point in demo.curve.adaptive.falling()]
    for floating, other in zip(demo.float_accuracy, integer, strict=True):
        assert other is not None
        assert abs(floating - other) <= 0.03


def test_everything_is_written(demo: DemoResult, folder: Path) -> None:
    assert demo.artifacts[0] == folder / "adaptive"
    for artifact in demo.artifacts:
        assert load_report(artifact)["noc"]["traffic"] == "measured"
    assert load_report(folder / "adaptive")["budgets"]
    program = load_artifact(folder / "adaptive")
    assert load_trace(folder / "trace.npz").program == program.origin.fingerprint()
    assert (folder / "adaptive.png").stat().st_size > 10_000
    page = (folder / "report.html").read_text("utf-8")
    assert "<svg" in page
    assert "dense" in page


def test_what_the_command_says_and_its_json(demo: DemoResult) -> None:
    text = "\n".join(demo_lines(demo))
    assert "every u, v, payload and spike of 8 digits" in text
    assert "assumed" in text
    content = json.loads(json.dumps(demo.as_dict()))
    assert content["curve"]["schema"] == "adlrns-curve/1"
    assert content["energy"]["status"] == "assumed"
    without = "\n".join(demo_lines(replace(demo, backends=("chip", "oracle"))))
    assert "Lava is not installed" in without
