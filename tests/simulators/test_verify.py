from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.chips import tiny_chip
from support.errors import refused
from support.gated import program, rate_gated_network, spikes
from support.net_files import dense, write_net
from support.networks import dense_network, random_payloads, small_network
from support.spatial import spatial_network

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.errors import ConfigError
from mapping.ir.checkpoint import save_network
from mapping.ir.network import Li, Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import Calibration
from mapping.model import load_compiled_model, load_model
from mapping.nir import NirConventions, read_nir, write_nir
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.targets.load import load_target
from simulators.backend import simulate
from simulators.compare import require_equal
from simulators.trace import Stimulus
from simulators.verify import verification_table, verify

CHIP = tiny_chip(width=3, height=2, cores_per_tile=2)


def compiled(network: Network, **options: object) -> CompileResult:
    return compile_network(network, CHIP, CompileOptions(neurons_per_core=6, **options))  # type: ignore[arg-type]


def test_backends_agree_and_the_float_model_is_near() -> None:
    stimulus = spikes(20)
    found = verify(program(), stimulus, ["chip"], model=rate_gated_network(), price=0.5)
    floating, oracle, chip = found.stages
    assert [stage.name for stage in found.stages] == ["float", "oracle", "chip"]
    for stage in (oracle, chip):
        assert stage.first is None
        assert stage.same_answers == 1.0
        assert not any(stage.differing_spikes.values())
    assert floating.differing_spikes.keys() == {"hidden", "out"}
    assert max(floating.differing_spikes.values()) < 0.1
    assert floating.same_answers > 0.7
    trace = simulate(program(), stimulus, "oracle", price=0.5)
    assert oracle.accuracy == chip.accuracy == trace.accuracy()


def test_the_earliest_difference_of_the_float_model_is_named() -> None:
    network = small_network(seed=3)
    result = compiled(network, weight_bits=2)
    payloads = random_payloads(network, samples=20, steps=12)
    found = verify(result.artifact, Stimulus(payloads=payloads), ["chip"], model=network)
    floating = found.stages[0]
    assert floating.first is not None
    place = floating.first
    assert place.values in ((0, 1), (1, 0))
    assert place.quantity == "spikes"
    assert floating.differing_spikes[place.population] > 0
    text = Console(width=120, record=True)
    text.print(verification_table(found))
    printed = text.export_text()
    assert f"{place.population}[{place.neuron}], sample {place.sample}" in printed
    assert floating.accuracy is None


def test_a_fixed_rank_and_a_fused_pair_are_compared_with_their_own_float_model() -> None:
    network = small_network(seed=5)
    payloads = (random_payloads(network, samples=20, steps=12) > 0).astype(np.int64)
    pruned = compiled(network, rank=1)
    (floating, *_) = verify(
        pruned.artifact, Stimulus(payloads=payloads), ["chip"], model=network
    ).stages
    assert max(floating.differing_spikes.values()) < 0.1
    binary = replace(
        network,
        populations=(
            replace(network.input, payload_min=0, payload_max=1),
            *network.populations[1:],
        ),
    )
    fused = compile_network(binary, load_target("loihi1"), CompileOptions(rank=1))
    (floating, *_) = verify(
        fused.artifact, Stimulus(payloads=payloads), ["chip"], model=binary
    ).stages
    assert max(floating.differing_spikes.values()) < 0.1


def test_a_nir_model_is_read_as_it_was_compiled(tmp_path: Path) -> None:
    network = small_network(seed=5)
    write_nir(network, tmp_path / "x.nir")
    conventions = NirConventions(dt_s=network.dt_s, integration="euler")
    read = read_nir(tmp_path / "x.nir", conventions)
    options = conventions.as_options(read.dt_s)
    result = compile_network(read, CHIP, CompileOptions(), conventions=options)
    again = load_compiled_model(tmp_path / "x.nir", result.artifact.origin.options)
    stimulus = Stimulus(payloads=random_payloads(network, samples=5, steps=8))
    assert verify(result.artifact, stimulus, ["chip"], model=again).stages[0].name == "float"


def test_an_integer_model_must_agree_in_every_state(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = [dense(rng.integers(-60, 60, size) * 2) for size in ((5, 6), (3, 5))]
    model = load_model(write_net(tmp_path / "x.net", layers))
    assert isinstance(model.network, QuantizedNetwork)
    result = compile_network(
        model.network, CHIP, CompileOptions(neurons_per_core=2), conventions=model.conventions
    )
    stimulus = Stimulus(payloads=rng.integers(0, 2, (3, 20, 6)))
    again = load_compiled_model(tmp_path / "x.net", result.artifact.origin.options)
    found = verify(result.artifact, stimulus, ["chip"], model=again)
    assert [stage.name for stage in found.stages] == ["integers", "oracle", "chip"]
    assert {stage.first for stage in found.stages} == {None}
    assert found.stages[0].differing_spikes == {"layer0": 0.0, "layer1": 0.0}
    assert [trace.backend for trace in found.traces] == ["oracle", "chip", "integers"]
    require_equal(*found.traces, where="here")


def test_another_model_is_refused() -> None:
    other = rate_gated_network(seed=7)
    with refused(ConfigError, "ADL-VER-01", where="model", remedy="that was compiled"):
        verify(program(), spikes(4), ["chip"], model=other)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = small_network(seed=3)
    save_network(network, tmp_path / "network")
    result = compiled(network)
    write_artifact(result.artifact, result.report, tmp_path / "out")
    payloads = random_payloads(network, samples=12, steps=8)
    labels = np.arange(12) % network.population(network.output).size
    Stimulus(payloads=payloads, labels=labels).save(tmp_path / "x.npz")
    return tmp_path


@pytest.mark.lava
def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ["verify", str(folder / "out"), "--input", str(folder / "x.npz"), "--samples", "6"]
    assert adlrns_map([*plain, "--model", str(folder / "network"), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["name"] for stage in stages] == ["float", "oracle", "chip", "lava"]
    assert stages[3]["first"] is None
    assert 0 <= stages[0]["accuracy"] <= 1
    assert adlrns_map(plain) == 0
    printed = capsys.readouterr().out
    assert "--model adds it" in printed
    assert "lava" in printed


@pytest.mark.lava
def test_lava_runs_all_cores_in_one_process_if_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import simulators.lava.run as module

    asked = []
    run_guarded = module.run_guarded

    def watched(job: str, payload: dict[str, object], **options: float) -> object:
        asked.append(payload["fuse"])
        return run_guarded(job, payload, **options)

    monkeypatch.setattr(module, "run_guarded", watched)
    where = [str(folder / "out"), "--input", str(folder / "x.npz")]
    assert adlrns_map(["verify", *where, "--samples", "6", "--fuse", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][2]["first"] is None
    assert adlrns_map(["simulate", *where, "--backend", "lava", "--fuse"]) == 0
    assert asked == [True, True]


def test_a_wrong_model_leaves_nothing_on_stdout(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(small_network(seed=4), folder / "other")
    command = ["verify", str(folder / "out"), "--input", str(folder / "x.npz")]
    assert adlrns_map([*command, "--model", str(folder / "other")]) == 2
    captured = capsys.readouterr()
    assert "ADL-VER-01" in captured.err
    assert captured.out == ""


def test_a_backend_that_differs_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is made to differ, since nothing that a user gives can."""
    import simulators.verify as module

    def crooked(artifact: object, stimulus: Stimulus, backend: str, **options: object) -> object:
        trace = simulate(artifact, stimulus, backend, **options)  # type: ignore[arg-type]
        if backend == "chip":
            trace.v["hidden"][2, 4, 1] += 1
        return trace

    monkeypatch.setattr(module, "simulate", crooked)
    monkeypatch.setattr("simulators.cli.find_spec", lambda _: None)
    command = ["verify", str(folder / "out"), "--input", str(folder / "x.npz")]
    assert adlrns_map(command) == 1
    captured = capsys.readouterr()
    assert "v of hidden[1], sample 2, step 4" in captured.out
    assert "Lava is not installed" in captured.out
    assert "ADL-SIM-10" in captured.err


def test_an_integrator_is_judged_by_its_voltage() -> None:
    network = spatial_network()
    payloads = np.random.default_rng(0).integers(0, 2, (20, 10, *network.input.shape))
    network = replace(
        network,
        populations=(
            *network.populations[:-1],
            Li(
                name=network.output,
                shape=network.populations[-1].shape,
                current_decay=0.5,
                voltage_decay=0.9,
            ),
        ),
    )
    result = compile_network(network, load_target("loihi2"), CompileOptions())
    floating, oracle, chip = verify(
        result.artifact, Stimulus(payloads=payloads), ["chip"], model=network
    ).stages
    assert oracle.same_answers == chip.same_answers == 1.0
    assert floating.same_answers > 0.5
    assert not floating.differing_spikes[network.output]


def test_a_network_whose_ranks_the_compiler_found_is_compared_with_the_full_one() -> None:
    network = dense_network((40, 30, 4))
    rng = np.random.default_rng(0)
    payloads = (rng.random((8, 12, 40)) < 0.5).astype(np.int64)
    labels = np.zeros(8, np.int64)
    result = compile_network(
        network,
        CHIP,
        CompileOptions(rank="auto", max_accuracy_drop=100.0),
        calibration=Calibration(payloads=payloads, labels=labels),
    )
    assert result.artifact.network.latency_steps > 2, "something became a pair"
    stimulus = Stimulus(payloads=payloads, labels=labels)
    floating, oracle, chip = verify(result.artifact, stimulus, ["chip"], model=network).stages
    assert (oracle.first, chip.first) == (None, None)
    assert floating.differing_spikes.keys() == {"p1", "out"}
