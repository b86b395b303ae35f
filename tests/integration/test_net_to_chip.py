"""The published lava-dl networks, all the way to every backend, against their published outputs.

Two time axes meet here. The references of the MNIST network let layers take no time, so layer ``k``
runs ``k + 1`` steps behind them: 1, 2 and 3 steps. The Oxford outputs are those of a real run in
Lava, whose layers take a step each as ours do: they agree step by step, lag 0, and both answer two
steps after the input.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.shared import shared_data

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.model import load_model
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.targets.load import load_target
from simulators.backend import simulate
from simulators.trace import Stimulus

MNIST, OXFORD = "mnist_784-128-64-10", "oxford_200-256-200"


@cache
def compiled(name: str) -> CompileResult:
    model = load_model(shared_data("netx", f"{name}.net"))
    return compile_network(
        model.network, load_target("loihi2"), CompileOptions(), conventions=model.conventions
    )


def reference(name: str) -> dict[str, np.ndarray]:
    with np.load(shared_data("netx", f"{name}_ref.npz")) as archive:
        return {key: archive[key].astype(np.int64) for key in archive.files}


def digits() -> tuple[Stimulus, dict[str, np.ndarray]]:
    wanted = reference(MNIST)
    spikes = wanted["spikes"].transpose(0, 2, 1)
    return Stimulus(payloads=spikes, labels=wanted["labels"]), wanted


@pytest.mark.parametrize("backend", ["oracle", "chip"])
def test_mnist_counts_are_the_published_ones(backend: str) -> None:
    stimulus, wanted = digits()
    sent = simulate(compiled(MNIST).artifact, stimulus, backend).spikes
    windows = [sent[f"layer{k}"][:, k + 1 : k + 1 + stimulus.steps] for k in range(3)]
    np.testing.assert_array_equal(windows[2].sum(axis=1), wanted["out_counts"])
    totals = np.stack([window.sum(axis=(1, 2)) for window in windows], axis=1)
    np.testing.assert_array_equal(totals, wanted["layer_spikes"])


@pytest.mark.parametrize("backend", ["oracle", "chip"])
def test_oxford_spikes_are_the_published_ones(backend: str) -> None:
    wanted = reference(OXFORD)
    stimulus = Stimulus(payloads=wanted["input"].T[None])
    sent = simulate(compiled(OXFORD).artifact, stimulus, backend).spikes["layer1"][0]
    assert sent.any()
    np.testing.assert_array_equal(sent[:2000], wanted["lava_out"].T)


@pytest.mark.lava
def test_lava_gives_both_references() -> None:
    stimulus, wanted = digits()
    sent = simulate(compiled(MNIST).artifact, stimulus, "lava", fuse=True).spikes["layer2"]
    np.testing.assert_array_equal(sent[:, 3:].sum(axis=1), wanted["out_counts"])
    wanted = reference(OXFORD)
    stimulus = Stimulus(payloads=wanted["input"].T[None])
    sent = simulate(compiled(OXFORD).artifact, stimulus, "lava", fuse=True).spikes["layer1"]
    np.testing.assert_array_equal(sent[0, :2000], wanted["lava_out"].T)


@pytest.mark.lava
def test_lava_core_by_core_gives_the_reference_of_a_digit() -> None:
    stimulus, wanted = digits()
    sent = simulate(compiled(MNIST).artifact, stimulus.first(1), "lava").spikes["layer2"]
    np.testing.assert_array_equal(sent[:, 3:].sum(axis=1), wanted["out_counts"][:1])


@pytest.mark.parametrize(("name", "bits"), [(MNIST, [8, 8, 8]), (OXFORD, [8, 7])])
def test_both_fit_five_cores_of_loihi2(name: str, bits: list[int]) -> None:
    """Intel's compiler takes 5 cores for each; see the tables in the target's sources."""
    report = compiled(name).report
    assert report["cores"]["used"] <= 5  # type: ignore[index]
    assert [row["weight_bits"] for row in report["network"]["layers"]] == bits  # type: ignore[index]
    assert {d.severity for d in compiled(name).diagnostics} <= {"warning"}


@pytest.mark.lava
def test_verify_runs_the_file_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compiled(MNIST)
    write_artifact(result.artifact, result.report, tmp_path / "out")
    digits()[0].save(tmp_path / "x.npz")
    command = ["verify", str(tmp_path / "out"), "--input", str(tmp_path / "x.npz"), "--samples"]
    model = str(shared_data("netx", f"{MNIST}.net"))
    assert adlrns_map([*command, "2", "--model", model]) == 0
    printed = capsys.readouterr().out
    assert "integers" in printed
    assert "instead of" not in printed
    other = str(shared_data("netx", f"{OXFORD}.net"))
    assert adlrns_map([*command, "2", "--model", other]) == 2
    assert "ADL-VER-01" in capsys.readouterr().err
