"""Calibration on counts of simulated programs: those of the example in ``docs/calibration.md``."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapping.cli import run as adlrns_map
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from simulators.energy.calibrate import FittedConstant, calibrate
from simulators.energy.measurements import PRICED_ACTIONS, Measurements, load_measurements

ROOT = Path(__file__).parents[2]
LOIHI2 = load_target("loihi2")
BASE = np.array([getattr(LOIHI2.energy_j, name).value for name in PRICED_ACTIONS])
SCRIPT, COMMANDS, PRINTED = re.findall(
    r"```\w*\n(.*?)```",
    (ROOT / "docs" / "calibration.md").read_text("utf-8").partition("## A worked example")[2],
    re.DOTALL,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script of the page has run."""
    found = tmp_path_factory.mktemp("measured")
    (found / "measure.py").write_text(SCRIPT, "utf-8")
    subprocess.run(
        [sys.executable, "measure.py"],
        cwd=found,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return found


@pytest.fixture(scope="module")
def measurements(folder: Path) -> Measurements:
    return load_measurements(folder / "out" / "calibrate" / "measured.csv", LOIHI2)


def true_constants() -> np.ndarray:
    """Those of the chip that the page measures."""
    truth = BASE.copy()
    truth[PRICED_ACTIONS.index("synaptic_op_dense")] *= 1.8
    truth[PRICED_ACTIONS.index("axon_out")] *= 0.6
    return truth


def calibrated(
    measurements: Measurements, energy_j: np.ndarray, chip: ChipSpec = LOIHI2
) -> dict[str, FittedConstant]:
    """The fitted constants by action."""
    found = calibrate(chip, replace(measurements, energy_j=energy_j))
    return {c.name.removeprefix("energy_j."): c for c in found.constants if c.why == "fitted"}


def holds(constant: FittedConstant, truth: float) -> bool:
    """Whether ``truth`` is within the interval of ``constant``."""
    return constant.value / constant.factor <= truth <= constant.value * constant.factor


def test_the_example_of_the_page_finds_the_chip(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    run, command = (shlex.split(line) for line in COMMANDS.splitlines())
    assert run == ["python", "measure.py"]
    assert command[0] == "adlrns-map"
    assert adlrns_map(command[1:]) == 0
    shown = capsys.readouterr().out
    first = re.compile(r"^ *(energy_j\.\w+|Mean error of loihi2|Written to \S+)", re.MULTILINE)
    assert first.findall(shown) == first.findall(PRINTED)
    assert adlrns_map([*command[1:], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fitted = {c["name"]: c for c in told["constants"] if c["why"] == "fitted"}
    assert {"energy_j.synaptic_op_dense", "energy_j.axon_out"} <= fitted.keys()
    for name, truth in zip(PRICED_ACTIONS, true_constants(), strict=True):
        found = fitted.get(f"energy_j.{name}")
        if found is not None:
            assert found["value"] / found["factor"] <= truth <= found["value"] * found["factor"]
    assert told["mean_left_out_error"] < 0.03
    assert len(told["per_measurement"]) == 24
    assert load_target("out/calibrate/mine.toml").name == "mine"


def test_exact_energies_give_the_constants_back(measurements: Measurements) -> None:
    rng = np.random.default_rng(0)
    determined = calibrated(measurements, measurements.counts @ BASE)
    assert len(determined) >= 6
    truth = BASE * [rng.uniform(0.7, 1.5) if name in determined else 1.0 for name in PRICED_ACTIONS]
    found = calibrated(measurements, measurements.counts @ truth)
    assert len(found) >= 6
    for name, constant in found.items():
        assert constant.value == pytest.approx(truth[PRICED_ACTIONS.index(name)], rel=1e-6)


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
def test_intervals_hold_the_truth(measurements: Measurements, noise: float) -> None:
    """Also where the kept constants are off, as much as the factors of the base allow."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = BASE * rng.lognormal(0, np.log(2) / 2, BASE.size)
        energy_j = measurements.counts @ truth * rng.normal(1, noise, measurements.rows)
        found = calibrated(measurements, energy_j)
        assert "synaptic_op_dense" in found
        held += [holds(c, truth[PRICED_ACTIONS.index(name)]) for name, c in found.items()]
    assert np.mean(held) > 0.9


@pytest.mark.parametrize("times", [0.01, 0.3, 3.0])
def test_a_base_that_is_far_off_as_a_whole_is_as_good(
    measurements: Measurements, times: float
) -> None:
    """What is certain of a chip does not hang on how much it takes beside the base."""
    energy_j = measurements.counts @ BASE
    energy_j = energy_j * np.random.default_rng(0).normal(1, 0.005, energy_j.size)
    table = LOIHI2.energy_j
    scaled = {name: getattr(table, name).times(times) for name in PRICED_ACTIONS}
    far = replace(LOIHI2, energy_j=replace(table, **scaled))
    near, found = calibrated(measurements, energy_j), calibrated(measurements, energy_j, far)
    assert {"synaptic_op_dense", "compartment_access", "host_packet"} <= found.keys() & near.keys()
    dense = "synaptic_op_dense"
    assert found[dense].value == pytest.approx(near[dense].value, rel=0.1)


def test_what_the_scatter_hides_keeps_the_value_of_the_base(measurements: Measurements) -> None:
    exact = measurements.counts @ true_constants()
    noise = np.random.default_rng(0).normal(1, 0.05, exact.size)
    found = calibrate(LOIHI2, replace(measurements, energy_j=exact * noise))
    hidden = [c for c in found.constants if c.why == "is lost in the scatter"]
    assert "energy_j.hop_north_south" in {c.name for c in hidden}
    for constant in hidden:
        assert constant.value == constant.base
        assert constant.factor == LOIHI2.constants()[constant.name].factor
    assert all(c.name not in found.target_file("mine", "loihi2") for c in hidden)


def test_doubt_about_a_kept_constant_is_doubt_about_a_fitted_one(
    measurements: Measurements,
) -> None:
    """Sent packets come in step with received ones, so either's energy is only as sure as both."""
    sure = replace(
        LOIHI2,
        energy_j=replace(
            LOIHI2.energy_j,
            **{
                name: replace(getattr(LOIHI2.energy_j, name), factor=1.0) for name in PRICED_ACTIONS
            },
        ),
    )
    energy_j = measurements.counts @ true_constants()
    energy_j = energy_j * np.random.default_rng(0).normal(1, 0.02, energy_j.size)
    doubtful, certain = (calibrated(measurements, energy_j, chip) for chip in (LOIHI2, sure))
    assert doubtful.keys() == certain.keys()
    for name, constant in doubtful.items():
        assert constant.value == certain[name].value
        assert constant.factor >= certain[name].factor
    assert any(constant.factor > certain[name].factor for name, constant in doubtful.items())
