from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.gated import compiled, program, rate_gated_network, spikes

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.errors import ConfigError
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from simulators.backend import simulate
from simulators.curve import load_curve
from simulators.energy.estimate import estimate_energy
from simulators.energy.sweep import curve_table, measure_curve


def fixed_rank() -> CompileResult:
    """The same network at one rank, for comparison."""
    options = CompileOptions(rank=4, neurons_per_core=6)
    return compile_network(rate_gated_network(), tiny_chip(), options)


def test_points_are_what_simulation_and_estimate_say(tmp_path: Path) -> None:
    artifact, stimulus = program(), spikes()
    fixed = fixed_rank().artifact
    curve = measure_curve(artifact, stimulus, baselines={"r4": fixed}, points=5, split="test")
    points = curve.adaptive.points
    assert len(points) == 5
    budgets = [point.budget_j for point in points]
    assert np.allclose(np.diff(budgets), np.diff(budgets)[0])
    for point in points:
        assert point.dynamic_j <= point.budget_j * (1 + 1e-9), "the calibration data are the same"
        trace = simulate(artifact, stimulus, price=point.price)
        energy = estimate_energy(artifact, trace)
        assert point.accuracy == trace.accuracy()
        assert point.dynamic_j == energy.dynamic_j == pytest.approx(sum(point.core_dynamic_j))
        assert point.static_j == energy.static_j
        assert trace.counts is not None
        assert list(point.core_dark_share) == trace.counts.dark.mean(axis=(0, 1)).tolist()
    assert curve.baselines[0].kind == "static"
    trace = simulate(fixed, stimulus)
    assert curve.baselines[0].dynamic_j == estimate_energy(fixed, trace).dynamic_j
    curve.save(tmp_path / "curve.json")
    assert load_curve(tmp_path / "curve.json") == curve
    assert curve_table(curve).row_count == 6


def test_cores_go_dark_as_the_budget_falls() -> None:
    curve = measure_curve(program(), spikes(), baselines={}, points=5, split="test")
    dark = [sum(s == 1.0 for s in p.core_dark_share) for p in curve.adaptive.falling()]
    assert dark[0] == 0
    assert dark[-1] >= 2, "the cores of both upper rank blocks"
    assert dark == sorted(dark)


def test_a_program_without_budgets_is_refused() -> None:
    with refused(ConfigError, "ADL-BUD-01"):
        measure_curve(fixed_rank().artifact, spikes(), baselines={}, points=5, split="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The program and its input on disk."""
    result = compiled()
    write_artifact(result.artifact, result.report, tmp_path / "program")
    write_artifact(fixed_rank().artifact, fixed_rank().report, tmp_path / "rank-4")
    spikes().save(tmp_path / "input.npz")
    return tmp_path


def test_simulate_keeps_to_a_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    energies = [entry.energy_j for entry in program().budgets]
    budget = (min(energies) + max(energies)) / 2
    command = ["simulate", str(folder / "program"), "--input", str(folder / "input.npz")]
    trace = str(folder / "trace.npz")
    assert adlrns_map([*command, "--budget", str(budget * 1e3), "-o", trace, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["price"] > 0
    assert 2 <= summary["mean_rank"]["enc"] <= 6
    assert adlrns_map(["energy", str(folder / "program"), "--trace", trace, "--json"]) == 0
    energy = json.loads(capsys.readouterr().out)
    assert energy["energy_j"]["dynamic"] <= budget
    assert adlrns_map(command) == 0
    assert "Rank of enc:" in capsys.readouterr().out
    assert adlrns_map([*command, "--budget", str(2e3 * max(energies))]) == 0
    said = capsys.readouterr().out
    assert "Dynamic energy per sample" in said
    assert "more than every rank takes" in said
    assert adlrns_map([*command, "--budget", "1e-9"]) == 2
    assert "ADL-BUD-02" in capsys.readouterr().err
    fixed = ["simulate", str(folder / "rank-4"), "--input", str(folder / "input.npz")]
    assert adlrns_map([*fixed, "--budget", "1"]) == 2
    assert "ADL-BUD-01" in capsys.readouterr().err


def test_curve_and_report_from_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve, page = folder / "curve.json", folder / "report.html"
    command = ["curve", str(folder / "program"), "--input", str(folder / "input.npz")]
    command += ["--baseline", str(folder / "rank-4"), "--points", "5", "-o", str(curve)]
    assert adlrns_map(command) == 0
    assert "rank-4" in capsys.readouterr().out
    first = curve.read_bytes()
    assert adlrns_map([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(first)
    assert curve.read_bytes() == first
    report = ["report", str(folder / "program"), "--curve", str(curve), "-o", str(page)]
    assert adlrns_map(report) == 0
    assert "rank-4" in page.read_text()
    refused_report = ["report", str(folder / "rank-4"), "--curve", str(curve), "-o", str(page)]
    capsys.readouterr()
    assert adlrns_map(refused_report) == 2
    assert "ADL-CRV-02" in capsys.readouterr().err
