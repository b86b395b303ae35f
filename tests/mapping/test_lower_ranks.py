from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.errors import refused
from support.networks import dense_network, digits_like_network

from mapping.errors import ConfigError
from mapping.ir.network import Dense, Input, Li, Lif, Network
from mapping.ir.traffic import Calibration
from mapping.passes.choose_ranks import RankStep
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.semantics.answer import highest_voltage, most_spikes
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

LOIHI2, LOIHI1 = load_target("loihi2"), load_target("loihi1")
CLASSES = 4


def task(seed: int = 0, *, integrates: bool = False) -> tuple[Network, Calibration]:
    """A classifier of noisy patterns whose first layer needs a rank of four, and its data."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((CLASSES, 48)) < 0.5
    labels = np.repeat(np.arange(CLASSES), 12)
    steps = 10
    chance = np.where(patterns[labels], 0.85, 0.15)
    payloads = (rng.random((len(labels), steps, 48)) < chance[:, None]).astype(np.int64)
    detectors = np.repeat(patterns * 2.0 - 1.0, 10, axis=0)
    hidden = Lif(name="hid", shape=(40,), current_decay=0.0, voltage_decay=0.9, threshold=1.0)
    votes = np.repeat(np.eye(CLASSES), 10, axis=1) * 0.5
    out = Lif(name="out", shape=(CLASSES,), current_decay=0.0, voltage_decay=0.9, threshold=1.0)
    network = Network(
        name="patterns",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(48,)),
            hidden,
            Li(name="out", shape=(CLASSES,), current_decay=0.0, voltage_decay=0.9)
            if integrates
            else out,
        ),
        projections=(
            Dense(
                name="enc",
                source="in",
                target="hid",
                weight=0.15 * detectors + rng.normal(0, 0.02, (40, 48)),
            ),
            Dense(name="dec", source="hid", target="out", weight=votes),
        ),
    )
    return network, Calibration(payloads=payloads, labels=labels)


def compiled(rank: Any, *, drop: float | None = None, seed: int = 0, **more: Any) -> CompileResult:
    network, calibration = task(seed, **more)
    options = CompileOptions(rank=rank, max_accuracy_drop=drop)
    return compile_network(network, LOIHI2, options, calibration=calibration)


def layers(result: CompileResult) -> dict[str, dict[str, Any]]:
    report: Any = result.report
    return {row["name"]: row for row in report["network"]["layers"]}


def accuracy(result: CompileResult, calibration: Calibration, *, integrates: bool) -> float:
    network = result.artifact.network
    trace = run_integer_network(network, calibration.with_silence(network.latency_steps))
    answers = highest_voltage(trace.v["out"]) if integrates else most_spikes(trace.spikes["out"])
    return float((answers == calibration.labels).mean())


@pytest.mark.parametrize("integrates", [False, True])
@pytest.mark.parametrize("drop", [0.0, 5.0])
def test_auto_keeps_the_accuracy_and_saves_energy(drop: float, integrates: bool) -> None:
    result = compiled("auto", drop=drop, integrates=integrates)
    report: Any = result.report
    search = report["low_rank"]["search"]
    _, calibration = task(integrates=integrates)
    reached = accuracy(result, calibration, integrates=integrates)
    assert reached == pytest.approx(search["accuracy"])
    assert reached >= search["full_accuracy"] - drop / 100
    assert search["max_accuracy_drop"] == drop
    assert search["energy_j"] < search["full_energy_j"]
    assert layers(result)["enc"]["realisation"] == "factored"
    assert layers(result)["enc"]["rank"] == search["ranks"]["enc"] <= 8
    rows = {row["layer"]: row for row in report["low_rank"]["layers"]}
    assert rows["enc"]["factored_j"] < rows["enc"]["full_j"]
    assert rows["enc"]["whitening"] == "measured second moment"
    total = sum(
        row["factored_j"] if row["realisation"] == "factored" else row["full_j"]
        for row in rows.values()
    )
    assert search["energy_j"] == pytest.approx(total)


def test_the_full_accuracy_is_that_of_the_program_without_a_rank() -> None:
    _, calibration = task()
    report: Any = compiled("auto").report
    plain = compiled(None)
    assert report["low_rank"]["search"]["full_accuracy"] == accuracy(
        plain, calibration, integrates=False
    )
    assert plain.report["low_rank"] is None
    assert all(row["why"] == "" for row in layers(plain).values())


def test_a_refused_step_ends_its_layer_and_kept_steps_end_at_the_ranks() -> None:
    report: Any = compiled("auto", drop=0.0).report
    search = report["low_rank"]["search"]
    floor = search["full_accuracy"]
    last: dict[str, int] = {}
    closed: set[str] = set()
    for step in search["steps"]:
        assert step["layer"] not in closed
        assert step["kept"] == (step["accuracy"] >= floor)
        assert step["rank"] < last.get(step["layer"], 99)
        if step["kept"]:
            last[step["layer"]] = step["rank"]
        else:
            closed.add(step["layer"])
    assert last == search["ranks"]
    assert closed, "something was refused"


def test_the_search_is_deterministic_and_told_to_the_observer() -> None:
    network, calibration = task()
    seen: list[list[object]] = [[], []]
    results = [
        compile_network(
            network,
            LOIHI2,
            CompileOptions(rank="auto"),
            calibration=calibration,
            observer=lambda name, made, heard=heard: heard.append((name, made)),  # type: ignore[misc]
        )
        for heard in seen
    ]
    assert results[0].artifact.origin == results[1].artifact.origin
    first: Any = results[0].report
    second: Any = results[1].report
    assert first["low_rank"] == second["low_rank"]
    steps = [(name, made) for name, made in seen[0] if isinstance(made, RankStep)]  # type: ignore[misc]
    assert len(steps) == len(first["low_rank"]["search"]["steps"])
    assert all(name.startswith("lower_ranks: ") for name, _ in steps)
    assert json.dumps(first["low_rank"])


def test_labels_count_for_the_origin_only_where_they_are_read() -> None:
    network, calibration = task()
    assert calibration.labels is not None
    other = replace(calibration, labels=(calibration.labels + 1) % CLASSES)
    plain, auto = (
        [
            compile_network(
                network, LOIHI2, CompileOptions(rank=rank), calibration=data
            ).artifact.origin.calibration_sha256
            for data in (calibration, other)
        ]
        for rank in (4, "auto")
    )
    assert plain[0] == plain[1]
    assert auto[0] != auto[1]


def test_a_given_rank_says_what_was_measured_or_assumed() -> None:
    network, calibration = task()
    for data, status, whitening, form in (
        (calibration, "measured", "measured second moment", ("factored", 4)),
        (None, "assumed", "none", ("full", 40)),
    ):
        result = compile_network(network, LOIHI2, CompileOptions(rank=4), calibration=data)
        report: Any = result.report
        assert report["low_rank"]["activity"] == status
        assert report["low_rank"]["search"] is None
        rows = {row["layer"]: row for row in report["low_rank"]["layers"]}
        assert rows["enc"]["whitening"] == whitening
        assert (layers(result)["enc"]["realisation"], layers(result)["enc"]["rank"]) == form
        assert layers(result)["enc"]["why"] == rows["enc"]["why"] != ""
        assert layers(result)["dec"]["why"] == "rank 4 is not below min(in, out) = 4"


def test_loihi1_fuses() -> None:
    network, calibration = task()
    result = compile_network(network, LOIHI1, CompileOptions(rank=4), calibration=calibration)
    assert (layers(result)["enc"]["realisation"], layers(result)["enc"]["rank"]) == ("fused", 4)
    assert "graded" in layers(result)["enc"]["why"]
    auto = compile_network(network, LOIHI1, CompileOptions(rank="auto"), calibration=calibration)
    assert layers(auto)["enc"]["realisation"] == "full"


@pytest.mark.parametrize("labelled", [False, True])
def test_auto_without_labels_is_refused(labelled: bool) -> None:
    network, calibration = task()
    data = replace(calibration, labels=None) if labelled else None
    with refused(ConfigError, "ADL-CFG-09", where="rank auto", remedy="labels"):
        compile_network(network, LOIHI2, CompileOptions(rank="auto"), calibration=data)


@pytest.mark.parametrize("drop", [-0.5, 100.5, float("nan"), float("inf")])
def test_a_drop_that_is_none_is_refused(drop: float) -> None:
    with refused(ConfigError, "ADL-CFG-10", where="max_accuracy_drop", message="0..100"):
        compiled("auto", drop=drop)


@pytest.mark.parametrize("rank", [4, None])
def test_a_drop_without_auto_is_refused(rank: int | None) -> None:
    with refused(ConfigError, "ADL-CFG-10", where="max_accuracy_drop", remedy="--rank auto"):
        compiled(rank, drop=1.0)


def test_auto_for_trained_pairs_is_refused() -> None:
    network = digits_like_network()
    payloads = np.ones((2, 3, 8, 8), np.int64)
    calibration = Calibration(payloads=payloads, labels=np.zeros(2, np.int64))
    with refused(ConfigError, "ADL-CFG-11", where="enc", remedy="levels"):
        compile_network(network, LOIHI2, CompileOptions(rank="auto"), calibration=calibration)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, np.int64), "there are 48 samples"),
        (np.zeros(48), "float64"),
        (np.full(48, 4), "span 4..4"),
        (np.full(48, -1), "span -1..-1"),
    ],
)
def test_labels_that_name_no_classes_are_refused(labels: np.ndarray, message: str) -> None:
    network, calibration = task()
    with refused(ConfigError, "ADL-INP-04", where="calibration", message=message):
        compile_network(
            network,
            LOIHI2,
            CompileOptions(rank="auto"),
            calibration=replace(calibration, labels=labels),
        )


def test_a_dense_network_can_be_given_a_rank_on_the_command_line(tmp_path: Path) -> None:
    from mapping.cli import run
    from mapping.ir.checkpoint import save_network

    network, calibration = task()
    save_network(network, tmp_path / "model")
    assert calibration.labels is not None
    np.savez(tmp_path / "x.npz", spikes=calibration.payloads, labels=calibration.labels)
    command = ["compile", str(tmp_path / "model"), "-o", str(tmp_path / "out")]
    options = ["--rank", "auto", "--max-accuracy-drop", "2", "--calibration"]
    assert run([*command, *options, str(tmp_path / "x.npz")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["low_rank"]["search"]["max_accuracy_drop"] == 2.0


def test_dense_chains_of_any_depth_compile() -> None:
    network = dense_network((200, 150, 120, 90))
    result = compile_network(network, LOIHI2, CompileOptions(rank=2))
    assert {row["realisation"] for row in layers(result).values()} == {"factored"}
    assert result.diagnostics == ()
