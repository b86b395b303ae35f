"""Meters of this machine, if any, and those of a made-up one whose counters zeus really reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import zeus.device.cpu
import zeus.device.cpu.rapl
import zeus.monitor.energy
from support.errors import refused
from support.gated import compiled, spikes
from zeus.device.gpu.common import ZeusGPUInitError
from zeus.device.soc.apple import AppleSiliconMeasurement
from zeus.device.soc.common import ZeusSoCInitError
from zeus.device.soc.jetson import JetsonMeasurement

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.errors import MissingDependencyError
from simulators.energy import cli, meter
from simulators.energy.meter import Metered, NoMeter, measure

BRIEF_S = 0.01
Zones = Callable[[dict[str, tuple[str, int]]], Callable[[], None]]


def write(file: Path, text: str) -> None:
    """At once, since zeus polls these files."""
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").replace(file)


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zones]:
    """Makes RAPL's files: by path, a zone's name and the microjoules that it gains per run."""
    root = tmp_path / "intel-rapl"
    monkeypatch.setattr(zeus.device.cpu.rapl, "RAPL_DIR", str(root))
    monkeypatch.setattr(zeus.device.cpu, "_cpus", None)
    monkeypatch.setattr(zeus.monitor.energy, "get_gpus", missing(ZeusGPUInitError))
    monkeypatch.setattr(zeus.monitor.energy, "get_soc", missing(ZeusSoCInitError))

    def make(zones: dict[str, tuple[str, int]]) -> Callable[[], None]:
        root.mkdir()
        for place, (name, _) in zones.items():
            (root / place).mkdir()
            (root / place / "name").write_text(name + "\n")
            (root / place / "energy_uj").write_text("5000")
            (root / place / "max_energy_range_uj").write_text("262143328850")

        def work() -> None:
            for place, (_, gained) in zones.items():
                file = root / place / "energy_uj"
                write(file, str(int(file.read_text()) + gained))

        return work

    zeus.device.cpu.rapl.rapl_is_available.cache_clear()
    yield make
    zeus.device.cpu.rapl.rapl_is_available.cache_clear()
    for cpu in getattr(zeus.device.cpu._cpus, "cpus", ()):
        for file in filter(None, (cpu.rapl_file, cpu.dram)):
            if file._wraparound_tracker is not None:
                file._wraparound_tracker._stop()


def missing(error: type[Exception]) -> Callable[[], None]:
    def look() -> None:
        raise error("none here")

    return look


def test_this_machine_is_measured_or_says_why_not() -> None:
    found = measure(lambda: sum(range(1000)), least_s=BRIEF_S)
    if isinstance(found, Metered):
        assert found.energy_j > 0
        assert found.runs >= 1
        assert found.meters
    else:
        assert "RAPL" in found.reason


def test_packages_and_their_memory_are_added_and_the_board_is_not(rapl: Zones) -> None:
    work = rapl(
        {
            "intel-rapl:0": ("package-0", 7_000_000),
            "intel-rapl:0/intel-rapl:0:0": ("core", 4_000_000),
            "intel-rapl:0/intel-rapl:0:1": ("dram", 2_000_000),
            "intel-rapl:1": ("psys", 90_000_000),
        }
    )
    found = measure(work, least_s=BRIEF_S)
    assert isinstance(found, Metered)
    assert found.meters == ("CPU 0", "memory of CPU 0")
    assert found.energy_j == pytest.approx(7 + 2)
    assert found.runs >= 1
    assert found.seconds > 0


def test_a_counter_that_stands_still_measures_nothing(rapl: Zones) -> None:
    work = rapl({"intel-rapl:0": ("package-0", 0)})
    found = measure(work, least_s=BRIEF_S)
    assert found == NoMeter(reason="this machine's meters stood still while the work ran")


def test_a_machine_that_shows_no_package_has_no_meter(rapl: Zones) -> None:
    """As where only root may read them: zeus then sees none."""
    rapl({})
    found = measure(lambda: None, least_s=BRIEF_S)
    assert isinstance(found, NoMeter)
    assert "may need root" in found.reason


def test_a_broken_zone_ends_in_a_reason(rapl: Zones, tmp_path: Path) -> None:
    rapl({"intel-rapl:0": ("package-0", 1)})
    (tmp_path / "intel-rapl" / "intel-rapl:0" / "max_energy_range_uj").unlink()
    found = measure(lambda: None, least_s=BRIEF_S)
    assert isinstance(found, NoMeter)
    assert "Error reading package max energy range" in found.reason


def test_an_idle_gpu_is_no_meter_of_what_runs_beside_it(
    rapl: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: int) -> float:
        raise AssertionError("the GPU was read")

    card = SimpleNamespace(
        __len__=lambda: 1,
        supports_get_total_energy_consumption=lambda _: True,
        get_total_energy_consumption=read,
    )
    monkeypatch.setattr(zeus.monitor.energy, "get_gpus", lambda: card)
    rapl({})
    assert isinstance(measure(lambda: None, least_s=BRIEF_S), NoMeter)


@pytest.mark.parametrize(
    ("energy", "meters"),
    [
        (
            JetsonMeasurement(cpu_energy_mj=300.0, gpu_energy_mj=50.0, total_energy_mj=900.0),
            {"system on chip": 0.9},
        ),
        (
            AppleSiliconMeasurement(cpu_total_mj=500, dram_mj=100, gpu_mj=40),
            {"processor": 0.5, "memory": 0.1},
        ),
    ],
)
def test_a_system_on_chip_is_read_once(
    rapl: Zones, monkeypatch: pytest.MonkeyPatch, energy: object, meters: dict[str, float]
) -> None:
    chip = SimpleNamespace(begin_window=lambda *_, **__: None, end_window=lambda _: energy)
    monkeypatch.setattr(zeus.monitor.energy, "get_soc", lambda: chip)
    rapl({})
    found = measure(lambda: None, least_s=BRIEF_S)
    assert isinstance(found, Metered)
    assert found.meters == tuple(meters)
    assert found.energy_j * found.runs == pytest.approx(sum(meters.values()))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "find_spec", lambda _: None)
    with refused(MissingDependencyError, "ADL-DEP-03", remedy="adlrns[meter]"):
        measure(lambda: None)


def test_compare_measures_the_dense_execution(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is measured is what the processors' columns model, on meters of a known reading."""
    ran = []

    def metered(work: Callable[[], object]) -> Metered:
        ran.append(work())
        return Metered(meters=("CPU 0",), energy_j=0.4, seconds=0.1, runs=20)

    monkeypatch.setattr(cli, "measure", metered)
    result = compiled()
    write_artifact(result.artifact, result.report, tmp_path / "program")
    spikes().save(tmp_path / "input.npz")
    command = ["compare", str(tmp_path / "program"), "--input", str(tmp_path / "input.npz")]
    few = ["--processors", "h100", "--points", "2", "--measure"]
    assert adlrns_map([*command, *few]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "densely in NumPy, 40 samples at once at full rank, takes 10 mJ per inference" in text
    assert adlrns_map([*command, *few, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["measured"]
    assert (shown["kind"], shown["energy_j"], shown["runs"]) == ("Metered", 0.4, 20)
    assert [trace.backend for trace in ran] == ["oracle", "oracle"]  # type: ignore[attr-defined]
