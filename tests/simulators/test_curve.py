from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.curves import curve_record
from support.errors import refused
from support.networks import small_network

from mapping import CompileOptions, compile_network, load_target
from mapping.artifact.schema import Artifact
from mapping.errors import ArtifactError, ConfigError
from simulators.curve import load_curve


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return compile_network(small_network(), load_target("loihi2"), CompileOptions()).artifact


def _write(path: Path, record: dict[str, Any]) -> Path:
    path.write_text(json.dumps(record))
    return path


def test_a_curve_is_read_with_its_points_from_the_largest_budget(
    artifact: Artifact, tmp_path: Path
) -> None:
    curve = load_curve(_write(tmp_path / "curve.json", curve_record(artifact)))
    assert curve.checked(artifact) is curve
    budgets = [point.budget_j for point in curve.adaptive.falling()]
    assert budgets == sorted(budgets, reverse=True)
    point = curve.adaptive.points[0]
    assert point.energy_j == point.dynamic_j + point.static_j
    assert curve.baselines[0].kind == "dense"


def test_accuracies_may_be_unknown(artifact: Artifact, tmp_path: Path) -> None:
    record = curve_record(artifact, accuracy=False)
    curve = load_curve(_write(tmp_path / "curve.json", record))
    assert all(point.accuracy is None for point in curve.adaptive.points)


def _point(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["adaptive"]["points"][0]
    return found


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (lambda r: r.update(schema="adlrns-curve/2"), "schema"),
        (lambda r: r.pop("baselines"), "baselines"),
        (lambda r: r.update(more=1), "more"),
        (lambda r: r["adaptive"].update(points=[]), "adaptive.points"),
        (lambda r: _point(r).update(accuracy=1.5), "accuracy"),
        (lambda r: _point(r).update(dynamic_j=float("nan")), "dynamic_j"),
        (lambda r: _point(r).update(dynamic_j="1"), "dynamic_j"),
        (lambda r: _point(r)["core_dark_share"].append(0.5), "differ in length"),
        (lambda r: _point(r).update(mean_rank={}), "name different layers"),
        (lambda r: _point(r)["ranks"]["enc"].update({"4": 0.9}), "do not add up to 1"),
        (lambda r: _point(r)["ranks"]["enc"].update({"four": 0.0}), "four"),
        (
            lambda r: _point(r).update(core_dark_share=[0.0] * 9, core_dynamic_j=[0.0] * 9),
            "differ in their number of cores",
        ),
        (lambda r: _point(r).update(ranks={}, mean_rank={}), "points name different layers"),
    ],
)
def test_a_file_that_is_no_curve_is_refused(
    artifact: Artifact,
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], object],
    trouble: str,
) -> None:
    record = curve_record(artifact)
    spoil(record)
    path = _write(tmp_path / "curve.json", record)
    with refused(
        ArtifactError, "ADL-CRV-01", where="curve.json", remedy="adlrns-curve/1", message=trouble
    ):
        load_curve(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"PK\x03\x04"])
def test_a_truncated_or_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "curve.json").write_bytes(content)
    with refused(ArtifactError, "ADL-CRV-01", where="curve.json"):
        load_curve(tmp_path / "curve.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-CRV-01", where="nowhere.json", message="No such file"):
        load_curve(tmp_path / "nowhere.json")


def test_a_curve_of_another_program_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    record = curve_record(artifact)
    record["adaptive"]["program"] = "another"
    curve = load_curve(_write(tmp_path / "curve.json", record))
    with refused(ConfigError, "ADL-CRV-02", where="curve", message="another compiled program"):
        curve.checked(artifact)
    record = curve_record(artifact)
    for point in record["adaptive"]["points"]:
        point["core_dynamic_j"] = point["core_dark_share"] = [0.5] * 7
    curve = load_curve(_write(tmp_path / "curve.json", record))
    with refused(ConfigError, "ADL-CRV-02", where="mine", message="7 cores"):
        curve.checked(artifact, where="mine")
