from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mapping import load_artifact, load_network
from mapping.artifact.read import load_report
from mapping.cli import run as adlrns_map
from mapping.passes.prune_ranks import PruneRanks
from mapping.semantics.float_net import run_float_network
from simulators import load_stimulus, simulate

RANKS = (8, 16, 24)
LOIHI1_RANKS = (4, 8, 16)
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_examples_are_short() -> None:
    for script in sorted(EXAMPLES.glob("0*.py")):
        assert len(script.read_text().splitlines()) < 80, script.name


def test_training_reaches_the_digits(trained: Path, run_example: Callable[[str], str]) -> None:
    shares = re.findall(r"rank +(\d+): ([\d.]+)%", run_example("01_train.py"))
    assert [int(rank) for rank, _ in shares] == list(RANKS)
    assert float(shares[0][1]) > 85
    assert float(shares[-1][1]) > 93
    assert (trained / "network" / "network.json").is_file()


@pytest.mark.parametrize("rank", RANKS)
def test_integers_lose_less_than_a_point(compiled: Path, rank: int) -> None:
    test = load_stimulus(compiled / "test.npz")
    artifact = load_artifact(compiled / f"rank-{rank}")
    integer = simulate(artifact, test).accuracy()
    network = PruneRanks(rank=rank).run(load_network(compiled / "network"))
    silence = np.zeros((test.samples, artifact.partitioned.latency_steps, 64), np.int64)
    payloads = np.concatenate([test.payloads, silence], axis=1)
    spikes = run_float_network(network, payloads)[network.output]
    answers = spikes.sum(axis=1).argmax(axis=1)
    assert test.labels is not None
    floating = float((answers == test.labels).mean())
    assert integer is not None
    assert abs(integer - floating) <= 0.01


@pytest.mark.lava
def test_three_backends_agree_on_twenty_digits(
    compiled: Path, run_example: Callable[[str], str]
) -> None:
    printed = run_example("03_simulate.py")
    assert "oracle: first difference from the chip simulator: None" in printed
    assert "lava: first difference from the chip simulator: None" in printed
    assert "Energy per inference" in printed
    found = re.findall(r"budget .*: ([\d.]+)% of 360 .* rank ([\d.]+) on average", printed)
    ranks = [float(rank) for _, rank in found]
    assert len(ranks) == 3
    assert ranks == sorted(ranks, reverse=True)
    assert all(float(share) > 80 for share, _ in found)
    assert (compiled / "adaptive.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.lava
def test_a_process_of_the_user_hears_the_compiled_program(
    compiled: Path, run_example: Callable[[str], str]
) -> None:
    printed = run_example("05_lava.py")
    assert "as many of each class as on the chip simulator: True" in printed
    assert int(re.findall(r"accuracy (\d+)%", printed)[0]) > 80


def test_the_rate_coded_twin_runs_fused_on_loihi1_at_every_rank(
    run_example: Callable[[str], str],
) -> None:
    printed = run_example("04_loihi1.py")
    rows = re.findall(r"rank +(\d+): ([\d.]+)% float, ([\d.]+)% integer, .*\(assumed\)", printed)
    assert [int(rank) for rank, _, _ in rows] == list(LOIHI1_RANKS)
    for _, floating, integer in rows:
        assert abs(float(floating) - float(integer)) <= 2.0
    assert float(rows[-1][2]) > 90
    assert "are identical on 20 digits" in printed
    folder = run_example.folder  # type: ignore[attr-defined]
    for rank in LOIHI1_RANKS:
        report = load_report(folder / f"loihi1-rank-{rank}")
        layer = report["network"]["layers"][0]  # type: ignore[index]
        assert (layer["realisation"], layer["rank"]) == ("fused", rank)
        assert report["target"] == "loihi1"


def test_compile_is_reproducible(compiled: Path, tmp_path: Path) -> None:
    command = ["compile", str(compiled / "network"), "-o", str(tmp_path / "again")]
    command += ["--neurons-per-core", "16", "--calibration", str(compiled / "calibration.npz")]
    assert adlrns_map(command) == 0
    for name in ("manifest.json", "cores.npz", "routes.npz"):
        first = (compiled / "adaptive" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first, name


def test_command_line_from_artifact_to_energy(
    compiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trace = str(compiled / "rank-8"), str(tmp_path / "trace.npz")
    stimulus = str(compiled / "test.npz")
    command = ["simulate", folder, "--input", stimulus, "--probe", "u,v", "-o", trace, "--json"]
    assert adlrns_map(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert {"backend", "samples", "steps", "seconds", "steps_per_second"} < summary.keys()
    assert summary["accuracy"] > 0.8
    plot = tmp_path / "overview.png"
    assert adlrns_map(["energy", folder, "--trace", trace, "--plot", str(plot), "--json"]) == 0
    energy = json.loads(capsys.readouterr().out)
    assert energy["energy_j"]["total"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert adlrns_map(["simulate", folder, "--input", stimulus, "--steps", "4"]) == 0
    assert "7 steps on chip" in capsys.readouterr().out
    assert adlrns_map(["energy", folder, "--trace", trace]) == 0
    assert "Energy per inference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["simulate", "{rank}", "--input", "missing.npz"], 2, "ADL-INP-05"),
        (["simulate", "{rank}", "--input", "{input}", "--backend", "chop"], 2, "ADL-CFG-01"),
        (["simulate", "{rank}", "--input", "{input}", "--probe", "w"], 2, "ADL-CFG-06"),
        (["simulate", "nowhere", "--input", "{input}"], 2, "ADL-ART-02"),
        (["energy", "{rank}", "--trace", "{input}"], 2, "ADL-TRC-01"),
        (["energy", "{rank}"], 2, "--trace"),
    ],
)
def test_wrong_use_of_the_upper_commands(
    compiled: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    places = {"rank": compiled / "rank-8", "input": compiled / "test.npz"}
    assert adlrns_map([a.format(**places) for a in arguments]) == code
    captured = capsys.readouterr()
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_any_network_gets_a_rank_that_saves_energy(run_example: Callable[[str], str]) -> None:
    printed = run_example("06_low_rank.py")
    rows = re.findall(r"rank (\S+): ([\d.]+)% .*, ([\d.]+) nJ", printed)
    assert [rank for rank, *_ in rows] == ["None", "8", "0.25", "auto"]
    accuracy = {rank: float(share) for rank, share, _ in rows}
    energy_nj = {rank: float(energy) for rank, _, energy in rows}
    assert accuracy["None"] > 96
    assert accuracy["auto"] > accuracy["None"] - 2.5
    assert energy_nj["8"] < energy_nj["auto"] < energy_nj["None"]
    report = load_report(run_example.folder / "full-auto")  # type: ignore[attr-defined]
    search = report["low_rank"]["search"]
    assert search["accuracy"] >= search["full_accuracy"] - 0.01
