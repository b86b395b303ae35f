"""What the benchmark says rests on a handful of functions; the training is tested elsewhere."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_digits import Figures, Job, accuracy, chosen_price, mean, paired, split
from results import row, write
from support.gated import program, spikes

from mapping.budget import price_for
from simulators.backend import simulate

JOB = Job(kind="dense", fold=0, hidden=16, coding="rate")


def figures(*hits: bool, **changes: float) -> Figures:
    plain = Figures(
        job=JOB,
        calibration_accuracy=0.5,
        hits=hits,
        cores=1,
        dark_cores=0,
        dynamic_j=1.0,
        static_j=1.0,
        static_chip_j=1.0,
        latency_s=1.0,
    )
    return replace(plain, **changes)


def test_every_digit_is_tested_once_and_never_trained_or_calibrated_on_in_its_fold() -> None:
    tested = []
    for fold in range(5):
        parts = split(fold)
        train, calibration, test = (
            {image.tobytes() for image in part.images}
            for part in (parts.train, parts.calibration, parts.test)
        )
        assert not test & (train | calibration)
        assert not train & calibration
        tested.append(parts.test.images)
    images = np.concatenate(tested)
    assert len(images) == 1797
    assert len(np.unique(images, axis=0)) == 1797


def test_differences_are_paired_by_digit() -> None:
    ours = [figures(True, True, False, True), figures(True, True)]
    others = [figures(True, False, False, True), figures(True, False)]
    difference, digits, folds = paired(ours, others)
    values = np.array([0, 1, 0, 0, 0, 1])
    assert difference == pytest.approx(values.mean())
    assert digits == pytest.approx(values.std(ddof=1) / math.sqrt(6))
    assert folds == pytest.approx(np.std([0.25, 0.5], ddof=1) / math.sqrt(2))
    assert math.isnan(paired(ours[:1], others[:1])[2])


def test_means_count_digits_not_folds() -> None:
    folds = [figures(True, True, True, dynamic_j=1.0), figures(False, dynamic_j=5.0)]
    assert accuracy(folds) == 0.75
    assert mean(folds, "dynamic_j") == 2.0


def test_the_best_budget_on_calibration_digits_is_chosen_and_of_equals_the_least() -> None:
    artifact, calibration = program(), spikes()
    energies = [entry.energy_j for entry in artifact.budgets]
    budgets = np.linspace(min(energies), max(energies), 7)
    prices = [price_for(artifact, float(budget)) for budget in budgets]
    traces = [simulate(artifact, calibration, price=price) for price in prices]
    scores = [float((trace.predictions() == calibration.labels).mean()) for trace in traces]
    assert len(set(scores)) > 1
    assert chosen_price(artifact, calibration) == prices[scores.index(max(scores))]
    assert chosen_price(replace(artifact, budgets=()), calibration) == 0.0


def test_rows_name_the_best_peer_and_are_written_whole(tmp_path: Path) -> None:
    right = row("case", "accuracy", "share", 0.9, {"a": 0.8, "b": 0.95})
    cheap = row("case", "dynamic_j", "J", 1.0, {"a": 2.0, "b": 4.0})
    assert right["ratio_to_best_peer"] == pytest.approx(0.9 / 0.95)
    assert cheap["ratio_to_best_peer"] == pytest.approx(0.5)
    write(tmp_path / "new" / "x.json", [right, cheap], ("numpy",), dense="a")
    content = json.loads((tmp_path / "new" / "x.json").read_text())
    assert content["rows"] == [right, cheap]
    assert content["dense"] == "a"
    assert content["versions"].keys() == {"numpy"}
