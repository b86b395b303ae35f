from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.gated import rate_gated_network, spikes
from support.networks import small_network

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.errors import ConfigError
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from simulators import Stimulus, estimate_energy, simulate
from simulators.energy.calibrate import Calibration, calibrate
from simulators.energy.measurements import PRICED_ACTIONS, Measurements, load_measurements

LOIHI2 = load_target("loihi2")
BASE = np.array([getattr(LOIHI2.energy_j, name).value for name in PRICED_ACTIONS])


def measured(
    counts: np.ndarray, energy_j: np.ndarray, chip_s: np.ndarray | None = None
) -> Measurements:
    rows = len(energy_j)
    return Measurements(
        file=Path("measured.csv"),
        sha256="0" * 64,
        energy_j=energy_j,
        counts=counts.astype(float),
        chip_s=np.zeros(rows) if chip_s is None else chip_s,
    )


def some_counts(seed: int, rows: int = 30) -> np.ndarray:
    """Counts in which every action makes out a part of the energy, were it 0.1 pJ or more."""
    often = np.round(500e-12 / np.maximum(BASE, 1e-13)).astype(int)
    return np.random.default_rng(seed).integers(1, 10_000, (rows, len(PRICED_ACTIONS))) * often


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_exact_measurements_give_the_constants_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.maximum(BASE, 1e-13) * rng.uniform(0.3, 3.0, BASE.size)
    counts = some_counts(seed)
    found = calibrate(LOIHI2, measured(counts, counts @ truth))
    assert {constant.why for constant in found.constants} == {"fitted"}
    np.testing.assert_allclose([c.value for c in found.constants], truth, rtol=1e-6)
    assert np.abs(found.errors).max() < 1e-9
    assert np.abs(found.left_out_errors).max() < 1e-6
    assert np.abs(found.base_errors).max() > 1e-3


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10))
def test_energies_of_the_base_times_a_number_are_reproduced(seed: int, scale: float) -> None:
    counts = some_counts(seed)
    found = calibrate(LOIHI2, measured(counts, counts @ BASE))
    assert np.abs(found.errors).max() < 1e-9
    assert np.abs(found.left_out_errors).max() < 1e-9
    found = calibrate(LOIHI2, measured(counts, scale * counts @ BASE))
    assert np.abs(found.errors).max() < 0.01
    assert all(constant.value >= 0 for constant in found.constants)


def test_noise_of_five_per_cent_leaves_the_constants_within_their_intervals() -> None:
    held = []
    for seed in range(20):
        counts = some_counts(seed, rows=60)
        noise = 1 + 0.05 * np.random.default_rng(seed + 100).standard_normal(60)
        found = calibrate(LOIHI2, measured(counts, noise * (counts @ BASE)))
        for constant in found.constants:
            if constant.why == "fitted" and constant.value:
                low, high = constant.value / constant.factor, constant.value * constant.factor
                held.append(low <= constant.base <= high)
        absolute = np.abs(found.left_out_errors)
        assert 0.02 < absolute.mean() < 0.1
        assert absolute.mean() > np.abs(found.errors).mean()
    assert np.mean(held) > 0.85


def test_static_power_is_fitted_to_totals() -> None:
    counts = some_counts(0)
    chip_s = np.random.default_rng(1).uniform(1e-6, 1e-5, len(counts))
    found = calibrate(LOIHI2, measured(counts, counts @ BASE + 0.4 * chip_s, chip_s))
    power = found.constants[-1]
    assert (power.name, power.why) == ("static_power_w", "fitted")
    assert power.value == pytest.approx(0.4, rel=1e-3)
    assert all(c.name != "static_power_w" for c in calibrate_dynamic(counts).constants)


def calibrate_dynamic(counts: np.ndarray) -> Calibration:
    return calibrate(LOIHI2, measured(counts, counts @ BASE))


def test_what_cannot_be_told_keeps_the_value_of_the_base() -> None:
    counts = some_counts(0)
    spike, access = PRICED_ACTIONS.index("spike"), PRICED_ACTIONS.index("compartment_access")
    chip_hop = PRICED_ACTIONS.index("hop_chip")
    counts[:, spike] = 3 * counts[:, access]
    counts[:, chip_hop] = 0
    truth = BASE.copy()
    truth[PRICED_ACTIONS.index("axon_out")] *= 2
    found = {c.name: c for c in calibrate(LOIHI2, measured(counts, counts @ truth)).constants}
    assert found["energy_j.hop_chip"].why == "does not occur"
    why = {found[f"energy_j.{name}"].why for name in ("spike", "compartment_access")}
    assert why == {"fitted", "is tied to others"}
    for name in ("spike", "compartment_access", "hop_chip"):
        constant = found[f"energy_j.{name}"]
        assert constant.value == pytest.approx(constant.base, rel=1e-3)
    assert found["energy_j.axon_out"].value == pytest.approx(222e-12, rel=1e-3)


def test_too_few_measurements_are_refused() -> None:
    counts = some_counts(0, rows=4)
    with refused(ConfigError, "ADL-CAL-04", where="measured.csv", remedy="at least 5"):
        calibrate(LOIHI2, measured(counts, counts @ BASE))


@pytest.mark.parametrize("times", [1e9, 1e-9])
def test_energies_in_another_unit_are_refused(times: float) -> None:
    counts = some_counts(0)
    energy_j = counts @ BASE
    energy_j[4] *= times
    with refused(ConfigError, "ADL-CAL-06", where="measurement 5", remedy="joules"):
        calibrate(LOIHI2, measured(counts, energy_j))


def test_a_measurement_that_counts_nothing_is_refused() -> None:
    counts = np.zeros((3, len(PRICED_ACTIONS)))
    with refused(ConfigError, "ADL-CAL-06", where="measurement 1", message="expects 0 J"):
        calibrate(LOIHI2, measured(counts, np.full(3, 1e-9)))


def test_energies_of_other_programs_are_refused() -> None:
    counts = np.zeros((3, len(PRICED_ACTIONS)))
    counts[:, PRICED_ACTIONS.index("spike")] = 1000
    energy_j = counts @ BASE * [1, 1, 10]
    with refused(ConfigError, "ADL-CAL-08", where="measured.csv", remedy="its own program"):
        calibrate(LOIHI2, measured(counts, energy_j))


def test_a_constant_at_the_bound_has_no_interval() -> None:
    counts = some_counts(0)
    truth = BASE.copy()
    truth[PRICED_ACTIONS.index("spike")] = 0
    found = calibrate(LOIHI2, measured(counts, (counts @ truth) - 1e-3 * counts @ BASE))
    spike = next(c for c in found.constants if c.name == "energy_j.spike")
    assert (spike.why, spike.value, spike.factor) == ("fitted", 0.0, 1.0)
    entry = tomllib.loads(found.target_file("mine", "loihi2"))["energy_j"]
    assert "no interval" in entry["spike"]["source"]
    assert "no interval" not in entry["axon_out"]["source"]


def write_rows(file: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([columns, *rows])
    return file


COLUMNS = ("energy_j", *PRICED_ACTIONS)
ROW = [1.0] * len(COLUMNS)
WRONG_FILES = {
    "empty": ("", "ADL-CAL-02", "missing 'energy_j'"),
    "no row": (",".join(COLUMNS) + "\n", "ADL-CAL-01", "no measurement"),
    "no text": ("\udcff", "ADL-CAL-01", "cannot be read"),
    "torn quote": (",".join(COLUMNS) + '\n"1', "ADL-CAL-01", "is not CSV"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_without_measurements_is_refused(case: str, tmp_path: Path) -> None:
    content, code, message = WRONG_FILES[case]
    (tmp_path / "m.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    with refused(ConfigError, code, where="m.csv", message=message):
        load_measurements(tmp_path / "m.csv", LOIHI2)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "ADL-CAL-01", where="m.csv", message="cannot be read"):
        load_measurements(tmp_path / "m.csv", LOIHI2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (COLUMNS[1:], "missing 'energy_j'"),
        (COLUMNS[:-1], "missing 'host_packet'"),
        ((*COLUMNS, "colour"), "unknown 'colour'"),
        ((*COLUMNS, "spike"), "double 'spike'"),
        ((*COLUMNS, "chips"), "chips counts only with latency_s"),
        (("energy_j", "program"), "missing 'trace'"),
        (("energy_j", "program", "trace", "spike"), "unknown 'spike'"),
    ],
)
def test_wrong_columns_are_named(columns: Sequence[str], message: str, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "m.csv", columns, [[1.0] * len(columns)])
    with refused(ConfigError, "ADL-CAL-02", where="m.csv", message=message, remedy="energy_j"):
        load_measurements(file, LOIHI2)


@pytest.mark.parametrize(
    ("name", "entry", "remedy"),
    [
        ("energy_j", "0", "positive"),
        ("energy_j", "much", "positive"),
        ("energy_j", "inf", "positive"),
        ("spike", "-1", "0 or more"),
        ("spike", "", "0 or more"),
        ("latency_s", "nan", "positive"),
        ("latency_s", "0", "positive"),
        ("chips", "0", "positive"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(
    name: str, entry: str, remedy: str, tmp_path: Path
) -> None:
    columns = (*COLUMNS, "latency_s", "chips")
    row = [entry if column == name else 1.0 for column in columns]
    file = write_rows(tmp_path / "m.csv", columns, [[1.0] * len(columns), row])
    with refused(ConfigError, "ADL-CAL-03", where="line 3", message=name, remedy=remedy):
        load_measurements(file, LOIHI2)


@pytest.mark.parametrize("entries", [len(COLUMNS) - 1, len(COLUMNS) + 1])
def test_a_row_of_another_length_is_named(entries: int, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "m.csv", COLUMNS, [ROW, [1.0] * entries])
    with refused(ConfigError, "ADL-CAL-03", where="line 3", message=f"{entries} entries"):
        load_measurements(file, LOIHI2)


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    plain = write_rows(tmp_path / "plain.csv", COLUMNS, [ROW, ROW])
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes() + b"\r\n")
    found = load_measurements(sheet, LOIHI2)
    assert found.energy_j.tolist() == [1.0, 1.0]
    assert found.counts.tolist() == load_measurements(plain, LOIHI2).counts.tolist()


def test_an_empty_path_is_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "m.csv", ("energy_j", "program", "trace"), [[1.0, "", "t.npz"]])
    with refused(ConfigError, "ADL-CAL-03", where="line 2", message="program is empty"):
        load_measurements(file, LOIHI2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs, traces and the energies that a chip with dearer packets would show."""
    found = tmp_path_factory.mktemp("calibrate")
    dear = dearer(LOIHI2)
    rows = []
    for number in range(12):
        gated = number % 2 == 0
        network = rate_gated_network() if gated else small_network()
        result = compile_network(network, LOIHI2, CompileOptions(neurons_per_core=2 + number))
        shape = result.artifact.partitioned.input.shape
        rng = np.random.default_rng(number)
        payloads = (rng.random((4, 5 + number, *shape)) < 0.1 * (1 + number % 5)).astype(np.int64)
        stimulus = spikes() if gated else Stimulus(payloads=payloads)
        trace = simulate(result.artifact, stimulus, price=float(number % 3))
        write_artifact(result.artifact, result.report, found / f"program-{number}")
        trace.save(found / f"trace-{number}.npz")
        energy_j = estimate_energy(result.artifact, trace, chip=dear).dynamic_j
        rows.append([energy_j, f"program-{number}", f"trace-{number}.npz"])
    write_rows(found / "measured.csv", ("energy_j", "program", "trace"), rows)
    return found


def dearer(chip: ChipSpec) -> ChipSpec:
    table = chip.energy_j
    return replace(
        chip,
        energy_j=replace(
            table, axon_out=table.axon_out.times(2.0), synaptic_op_dense=table.spike.times(0.5)
        ),
    )


def test_the_command_writes_a_target_that_reproduces_the_measurements(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["calibrate", "loihi2", str(folder / "measured.csv")]
    assert adlrns_map([*command, "-o", str(tmp_path / "mine.toml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_left_out_error"] < 0.01
    mine = load_target(tmp_path / "mine.toml")
    fitted = {c["name"]: c for c in told["constants"] if c["why"] == "fitted"}
    for name, constant in fitted.items():
        figure = mine.constants()[name]
        assert (figure.value, figure.status) == (constant["value"], "fit")
        for words in ("measured.csv", told["sha256"], "12 measurements", "leave-one-out"):
            assert words in figure.source
    assert mine.name == "mine"
    assert (mine.core, mine.mesh) == (LOIHI2.core, LOIHI2.mesh)
    measured_again = load_measurements(folder / "measured.csv", mine)
    values = np.array([getattr(mine.energy_j, name).value for name in PRICED_ACTIONS])
    np.testing.assert_allclose(measured_again.counts @ values, measured_again.energy_j, rtol=0.01)
    assert adlrns_map([*command, "-o", str(tmp_path / "again" / "mine.toml")]) == 0
    assert (tmp_path / "again" / "mine.toml").read_bytes() == (tmp_path / "mine.toml").read_bytes()
    shown = capsys.readouterr().out
    for words in ("energy_j.axon_out", "fitted", "does not occur", "Mean error of loihi2"):
        assert words in shown


def test_a_fit_may_start_from_a_fit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "sub" / "two.toml"
    csv_file = str(folder / "measured.csv")
    assert adlrns_map(["calibrate", "loihi2", csv_file, "-o", str(one)]) == 0
    assert adlrns_map(["calibrate", str(one), csv_file, "-o", str(two)]) == 0
    assert load_target(two).name == "two"
    assert 'base = "../one.toml"' in two.read_text()
    capsys.readouterr()


def test_another_ending_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.json"
    command = ["calibrate", "loihi2", str(folder / "measured.csv"), "-o", str(output)]
    assert adlrns_map(command) == 2
    assert "ADL-CAL-05" in capsys.readouterr().err
    assert not output.exists()


def test_what_the_fit_started_from_is_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv_file = str(folder / "measured.csv")
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    assert adlrns_map(["calibrate", "loihi2", csv_file, "-o", str(one)]) == 0
    assert adlrns_map(["calibrate", str(one), csv_file, "-o", str(two)]) == 0
    before = one.read_bytes(), two.read_bytes()
    for target, output in ((one, one), (two, two), (two, one)):
        assert adlrns_map(["calibrate", str(target), csv_file, "-o", str(output)]) == 2
        assert "ADL-CAL-07" in capsys.readouterr().err
    assert (one.read_bytes(), two.read_bytes()) == before
    assert load_target(two).name == "two"


def test_a_base_is_found_from_a_folder_behind_a_link(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv_file = str(folder / "measured.csv")
    one, real, link = tmp_path / "one.toml", tmp_path / "deep" / "real", tmp_path / "link"
    real.mkdir(parents=True)
    link.symlink_to(real)
    assert adlrns_map(["calibrate", "loihi2", csv_file, "-o", str(one)]) == 0
    assert adlrns_map(["calibrate", str(one), csv_file, "-o", str(link / "two.toml")]) == 0
    assert load_target(link / "two.toml").name == "two"
    capsys.readouterr()
