from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from golden.neurobench_networks import LABELS, payloads
from golden.neurobench_networks import NETWORKS as MEASURED
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.gate_options import input_for, optioned_network
from support.gated import program, spikes
from support.net_files import dense, write_net
from support.networks import digits_like_network, random_payloads, recurrent_network, small_network
from support.spatial import spatial_network

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.ir.checkpoint import save_network
from mapping.ir.network import ConvShape, Input, Li, Network, SumPool2d
from mapping.ir.synapses import ConvSynapses
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from simulators import Stimulus, simulate
from simulators.neurobench import mapped_metrics, metrics_table, original_metrics

LOIHI2 = load_target("loihi2")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "neurobench.json").read_text())
NETWORKS = {
    "small": small_network(),
    "recurrent": recurrent_network(),
    "low rank": digits_like_network(),
    "spatial": spatial_network(),
    "gated": optioned_network(at="relay", hidden=3, biased=True),
    "gated at host": optioned_network(at="source", changes=True),
}


@pytest.mark.parametrize("case", MEASURED)
def test_the_original_has_the_metrics_that_neurobench_found_in_snntorch(case: str) -> None:
    stimulus = Stimulus(payloads=payloads(case), labels=LABELS)
    theirs = dict(GOLDEN[case])
    assert theirs.pop("spikes") > 10
    theirs["Footprint"] -= theirs.pop("buffers")
    found = original_metrics(MEASURED[case], stimulus)
    assert set(found) == set(theirs)
    accuracy = found.pop("ClassificationAccuracy")
    assert float(np.float32(accuracy)) == theirs["ClassificationAccuracy"]
    assert accuracy * len(LABELS) == round(accuracy * len(LABELS))
    for name, value in found.items():
        assert value == pytest.approx(theirs[name]), name


def test_neurobench_has_measured_every_kind_of_operation() -> None:
    operations = {case: GOLDEN[case]["SynapticOperations"] for case in MEASURED}
    assert operations["spikes"]["Effective_MACs"] == 0 < operations["spikes"]["Effective_ACs"]
    assert operations["rectified"]["Effective_MACs"] > operations["rectified"]["Effective_ACs"] == 0
    assert min(operations["values"].values()) > 0
    accuracies = {GOLDEN[case]["ClassificationAccuracy"] for case in MEASURED}
    assert len(accuracies) > 1
    assert 0 < min(accuracies) < max(accuracies) < 1


def stimulus_of(model: Network, samples: int = 3, steps: int = 6) -> Stimulus:
    if model.input.delta:
        return Stimulus(payloads=input_for(model, samples=samples, steps=steps))
    return Stimulus(payloads=random_payloads(model, samples=samples, steps=steps))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_mapped_is_what_the_chip_counts(name: str) -> None:
    model = NETWORKS[name]
    artifact = compile_network(model, LOIHI2, CompileOptions()).artifact
    stimulus = stimulus_of(model)
    found = mapped_metrics(artifact, stimulus)
    trace = simulate(artifact, stimulus, probe=("v",))
    operations = found["SynapticOperations"]
    effective = (operations["Effective_MACs"] + operations["Effective_ACs"]) * trace.samples
    assert trace.counts is not None
    read = trace.counts.synaptic_op.sum()
    whole = all(p.mantissas.all() for p in artifact.network.projections)
    assert effective == pytest.approx(read) if whole else effective < read + 0.5
    everywhere = [
        p.synapses.count if isinstance(p.synapses, ConvSynapses) else np.prod(p.synapses.shape)
        for p in artifact.network.projections
    ]
    assert operations["Dense"] == sum(everywhere) * trace.steps
    moved = sum((np.diff(v, axis=1) != 0).sum() + v[:, 0].size for v in trace.v.values())
    assert found["MembraneUpdates"] == moved / trace.samples
    words = sum(core.synapse_words for core in artifact.partitioned.usage(LOIHI2))
    compartments = sum(p.size for p in artifact.network.populations[1:])
    assert found["Footprint"] == 8 * words + 2 * 3 * compartments


def test_what_the_host_sends_as_blocks_open_and_close_takes_operations() -> None:
    model = optioned_network(at="source", changes=True, traced=False, seed=2)
    stimulus = Stimulus(payloads=input_for(model))
    artifact = compile_network(
        model,
        tiny_chip(width=3, height=3, cores_per_tile=2),
        CompileOptions(neurons_per_core=6),
        calibration=Calibration(payloads=stimulus.payloads),
    ).artifact
    assert all(p.mantissas.all() for p in artifact.network.projections)
    trace = simulate(artifact, stimulus)
    events = trace.spikes["enc/gate"]
    assert (events > 0).any()
    assert (events < 0).any()
    assert trace.counts is not None
    operations = mapped_metrics(artifact, stimulus)["SynapticOperations"]
    read = trace.counts.synaptic_op.sum() / trace.samples
    assert operations["Effective_MACs"] + operations["Effective_ACs"] == pytest.approx(read)


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(sorted(NETWORKS)), seed=st.integers(0, 1000))
def test_shares_are_shares_and_nothing_exceeds_dense(name: str, seed: int) -> None:
    model = NETWORKS[name]
    full = stimulus_of(model).payloads
    keep = np.random.default_rng(seed).random(full.shape) < 0.5
    few, all_of_it = (original_metrics(model, Stimulus(payloads=p)) for p in (full * keep, full))
    for found in (few, all_of_it):
        operations = found["SynapticOperations"]
        effective = operations["Effective_MACs"] + operations["Effective_ACs"]
        assert 0 <= effective <= operations["Dense"]
        for share in ("ConnectionSparsity", "ActivationSparsity"):
            assert 0 <= found[share] <= 1
        assert found["MembraneUpdates"] > 0
    assert few["SynapticOperations"]["Dense"] == all_of_it["SynapticOperations"]["Dense"]


def test_silence_takes_no_operation_without_biases() -> None:
    model = small_network(biases=False)
    silent = Stimulus(payloads=stimulus_of(model).payloads * 0)
    artifact = compile_network(model, LOIHI2, CompileOptions()).artifact
    for found in (original_metrics(model, silent), mapped_metrics(artifact, silent)):
        operations = found["SynapticOperations"]
        assert operations["Effective_MACs"] == operations["Effective_ACs"] == 0
        assert found["ActivationSparsity"] == 1.0


def test_shares_of_nothing_are_zero() -> None:
    conv = ConvShape(inputs=(1, 4, 4), out_channels=1, kernel=(2, 2), stride=(2, 2))
    model = Network(
        name="pool",
        dt_s=1e-3,
        populations=(
            Input(name="in", shape=conv.inputs),
            Li(name="out", shape=conv.outputs, current_decay=0.0, voltage_decay=0.5),
        ),
        projections=(SumPool2d(name="pool", source="in", target="out", conv=conv),),
        output="out",
    )
    stimulus = stimulus_of(model)
    original = original_metrics(model, stimulus)
    artifact = compile_network(model, LOIHI2, CompileOptions()).artifact
    mapped = mapped_metrics(artifact, stimulus)
    assert original["Footprint"] == original["ConnectionSparsity"] == 0
    assert original["ActivationSparsity"] == mapped["ActivationSparsity"] == 0
    assert set(original["SynapticOperations"].values()) == {0}
    events = np.count_nonzero(stimulus.payloads) / stimulus.samples
    assert mapped["SynapticOperations"]["Effective_ACs"] == events


def test_closed_gates_leave_their_blocks_out() -> None:
    artifact = program()
    opened, closed = (mapped_metrics(artifact, spikes(), price=p) for p in (0.0, 1e9))
    assert opened["SynapticOperations"]["Dense"] == closed["SynapticOperations"]["Dense"]
    for kind in ("Effective_MACs", "Effective_ACs"):
        assert closed["SynapticOperations"][kind] <= opened["SynapticOperations"][kind]
    assert closed["ActivationSparsity"] > opened["ActivationSparsity"]


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = small_network()
    result = compile_network(model, LOIHI2, CompileOptions())
    write_artifact(result.artifact, result.report, tmp_path / "program")
    save_network(model, tmp_path / "model")
    stimulus = stimulus_of(model)
    classes = result.artifact.partitioned.population(result.artifact.partitioned.output).size
    labelled = Stimulus(payloads=stimulus.payloads, labels=np.arange(3) % classes)
    labelled.save(tmp_path / "input.npz")
    command = ["metrics", str(tmp_path / "program"), "--input", str(tmp_path / "input.npz")]
    assert adlrns_map([*command, "--model", str(tmp_path / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["original"] == json.loads(json.dumps(original_metrics(model, labelled)))
    assert found["mapped"] == json.loads(json.dumps(mapped_metrics(result.artifact, labelled)))
    assert set(found["original"]) == set(found["mapped"]) >= {"ClassificationAccuracy"}
    assert adlrns_map([*command, "--samples", "2"]) == 0
    text = capsys.readouterr().out
    for name in ("Footprint", "SynapticOperations.Effective_ACs", "MembraneUpdates"):
        assert name in text
    assert metrics_table(found).row_count == 8
    save_network(small_network(seed=1), tmp_path / "other")
    assert adlrns_map([*command, "--model", str(tmp_path / "other")]) == 2
    assert "ADL-VER-01" in capsys.readouterr().err


def test_an_integer_model_has_no_metrics_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_net(tmp_path / "m.net", [{"type": "input", "shape": [4]}, dense(np.ones((3, 4)))])
    assert adlrns_map(["compile", str(tmp_path / "m.net"), "-o", str(tmp_path / "p")]) == 0
    np.savez(tmp_path / "input.npz", spikes=np.ones((1, 3, 4), np.int64))
    command = ["metrics", str(tmp_path / "p"), "--input", str(tmp_path / "input.npz")]
    capsys.readouterr()
    assert adlrns_map([*command, "--model", str(tmp_path / "m.net")]) == 2
    assert "ADL-NBM-01" in capsys.readouterr().err
