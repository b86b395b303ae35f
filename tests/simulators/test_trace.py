from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from support.integer_networks import Case, cases
from support.networks import random_payloads, small_network

from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.cost import ActionCounts
from mapping.errors import ArtifactError, ConfigError
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from simulators import Stimulus, estimate_energy, load_stimulus, load_trace, simulate
from simulators.plots.overview import draw_overview


@settings(max_examples=8)
@given(case=cases())
def test_a_trace_survives_the_disk(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.npz"
    labels = np.zeros(case.payloads.shape[0], np.int64)
    stimulus = Stimulus(payloads=case.payloads, labels=labels)
    trace = simulate(case.artifact, stimulus, probe=("u", "v"))
    trace.save(path)
    again = load_trace(path)
    assert (again.backend, again.program, again.output) == ("chip", trace.program, "out")
    for group in ("spikes", "u", "v"):
        for name, values in getattr(trace, group).items():
            np.testing.assert_array_equal(getattr(again, group)[name], values)
    assert trace.counts is not None
    assert again.counts is not None
    for name, values in trace.counts.items():
        np.testing.assert_array_equal(getattr(again.counts, name), values)
    np.testing.assert_array_equal(again.link_packets, trace.link_packets)
    assert again.summary() == trace.summary()


def test_the_answer_is_the_class_with_most_spikes_and_ties_go_down() -> None:
    from simulators.trace import ExecutionTrace

    spikes = np.array([[[0, 1, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 1]]])
    trace = ExecutionTrace(
        price=0.0,
        backend="chip",
        program="",
        output="out",
        seconds=0.0,
        spikes={"out": spikes},
        u={},
        v={},
        labels=np.array([1, 0, 0]),
    )
    assert trace.predictions().tolist() == [1, 0, 2]
    assert trace.accuracy() == pytest.approx(2 / 3)
    assert trace.with_labels(None).accuracy() is None


def test_stimulus_round_trip(tmp_path: Path) -> None:
    stimulus = Stimulus(payloads=np.arange(6).reshape(1, 2, 3), labels=np.array([4]))
    stimulus.save(tmp_path / "in.npz")
    again = load_stimulus(tmp_path / "in.npz")
    np.testing.assert_array_equal(again.payloads, stimulus.payloads)
    assert again.labels is not None
    assert again.labels.tolist() == [4]
    assert [p.name for p in tmp_path.iterdir()] == ["in.npz"]


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_missing_truncated_or_foreign_input_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "in.npz"
    with pytest.raises(ArtifactError, match=r"ADL-INP-05 · .*in\.npz: .*No such file"):
        load_stimulus(path)
    Stimulus(payloads=np.zeros((1, 2, 3), int)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"ADL-INP-05 · .*in\.npz"):
        load_stimulus(path)
    with pytest.raises(ArtifactError, match=r"ADL-TRC-01 · .*in\.npz"):
        load_trace(path)


def test_an_input_file_without_spikes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", wrong=np.zeros(3))
    with pytest.raises(ConfigError, match=r"ADL-INP-06 · .*no array 'spikes'"):
        load_stimulus(tmp_path / "in.npz")
    with pytest.raises(ArtifactError, match=r"ADL-TRC-01 · .*not a trace"):
        load_trace(tmp_path / "in.npz")


@settings(max_examples=1)
@given(case=cases())
def test_unsuitable_input_is_refused(case: Case) -> None:
    shape = case.payloads.shape
    population = case.artifact.partitioned.input

    def refused(payloads: np.ndarray, code: str, labels: np.ndarray | None = None) -> None:
        with pytest.raises(ConfigError, match=code) as caught:
            simulate(case.artifact, Stimulus(payloads=payloads, labels=labels))
        assert caught.value.where == "stimulus"
        assert caught.value.remedy

    refused(np.zeros((*shape[:2], shape[2] + 1), int), "ADL-INP-01")
    refused(np.zeros((0, *shape[1:]), int), "ADL-INP-01")
    refused(np.zeros(shape[:2], int), "ADL-INP-01")
    refused(np.zeros(shape), "ADL-INP-02")
    refused(np.full(shape, population.payload_max + 1), "ADL-INP-03")
    refused(case.payloads, "ADL-INP-04", labels=np.zeros(shape[0] + 1, int))
    classes = case.artifact.partitioned.population(case.artifact.partitioned.output).size
    refused(case.payloads, "ADL-INP-04", labels=np.full(shape[0], classes))
    refused(case.payloads, "ADL-INP-04", labels=np.full(shape[0], -1))


@settings(max_examples=1)
@given(case=cases())
def test_unknown_backend_probe_and_step_count_are_refused(case: Case) -> None:
    stimulus = Stimulus(payloads=case.payloads)
    with pytest.raises(ConfigError, match=r"ADL-CFG-01 · backend: .*did you mean 'chip'"):
        simulate(case.artifact, stimulus, "chips")
    with pytest.raises(ConfigError, match="ADL-CFG-06"):
        simulate(case.artifact, stimulus, probe=("w",))
    with pytest.raises(ConfigError, match="ADL-CFG-06"):
        simulate(case.artifact, stimulus, steps=0)
    with pytest.raises(ConfigError, match="ADL-CFG-06"):
        simulate(case.artifact, stimulus, steps=stimulus.steps + 1)


@settings(max_examples=20)
@given(case=cases())
def test_samples_are_independent_and_steps_cut_the_input(case: Case) -> None:
    stimulus = Stimulus(payloads=case.payloads)
    whole = simulate(case.artifact, stimulus)
    for sample in range(stimulus.samples):
        alone = simulate(case.artifact, Stimulus(payloads=case.payloads[sample : sample + 1]))
        for name, values in alone.spikes.items():
            np.testing.assert_array_equal(values[0], whole.spikes[name][sample])
    short = simulate(case.artifact, stimulus, steps=3)
    cut = simulate(case.artifact, Stimulus(payloads=case.payloads[:, :3]))
    latency = case.artifact.partitioned.latency_steps
    assert short.steps == 3 + latency
    for name, values in cut.spikes.items():
        np.testing.assert_array_equal(values, short.spikes[name])


@settings(max_examples=1)
@given(case=cases())
def test_files_get_the_very_name_that_was_asked_for(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """NumPy and matplotlib append suffixes of their own to names that lack them."""
    folder = tmp_path_factory.mktemp("names")
    trace = simulate(case.artifact, Stimulus(payloads=case.payloads))
    for name in ("trace", "trace.of.mine"):
        trace.save(folder / name)
        assert load_trace(folder / name).steps == trace.steps
    for name in ("picture", "picture.npz"):
        energy = estimate_energy(case.artifact, trace)
        draw_overview(case.artifact, trace, energy, folder / name)
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert len(list(folder.iterdir())) == 4


def test_an_output_that_never_spikes_is_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network(biases=False)
    result = compile_network(network, load_target("loihi2"), CompileOptions())
    write_artifact(result.artifact, result.report, tmp_path / "program")
    silent = Stimulus(payloads=random_payloads(network) * 0)
    silent.save(tmp_path / "input.npz")
    assert simulate(result.artifact, silent).is_silent()
    command = [str(tmp_path / "program"), "--input", str(tmp_path / "input.npz")]
    assert adlrns_map(["simulate", *command]) == 0
    assert "ever spiked, so every answer is class 0" in capsys.readouterr().err
    monkeypatch.setattr("simulators.cli.find_spec", lambda _: None)
    assert adlrns_map(["verify", *command]) == 0
    assert "The output never spiked" in capsys.readouterr().err


@settings(max_examples=1)
@given(case=cases())
def test_counts_of_another_shape_or_type_are_refused(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "trace.npz"
    trace = simulate(case.artifact, Stimulus(payloads=case.payloads))
    trace.save(path)
    with np.load(path) as file:
        whole = dict(file)
    for name in ("counts/axon_in", "busiest_link"):
        for torn in (whole[name][:, :-1], whole[name].astype(float), whole[name].ravel()):
            np.savez(path, **{**whole, name: torn})
            with pytest.raises(ArtifactError, match=rf"ADL-TRC-01 .*trouble with {name}"):
                load_trace(path)
    assert trace.counts is not None
    few = ActionCounts(**{n: values[..., :1] for n, values in trace.counts.items()})
    if len(case.artifact.partitioned.cores) > 1:
        with pytest.raises(ConfigError, match="ADL-ENG-02"):
            estimate_energy(case.artifact, replace(trace, counts=few))
