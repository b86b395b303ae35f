"""What others' simulators are given is our network, and what cannot run is left out or named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from chip_networks import perceptron
from chip_peers import (
    PROBLEMS,
    Problem,
    convolution,
    convolutional_problem,
    peer_speed,
    perceptron_problem,
    problem_of,
    reference,
)
from peers import environment
from peers.environment import Peer, PeerFailedError
from peers.exchange import PROBLEM_SCHEMA, check_problem, layers, read_problem, write_problem
from support.gated import program

from simulators import Stimulus, simulate


def tiny(steps: int = 40) -> Problem:
    """6-5-4, a dense and a sparse layer, with both signs and a voltage that saturates."""
    rng = np.random.default_rng(3)
    sparse = rng.integers(-200, 201, (4, 5), dtype=np.int32) * (rng.random((4, 5)) < 0.6)
    target, source = (values.astype(np.int32) for values in np.nonzero(sparse))
    weights = rng.integers(-100, 201, (5, 6), dtype=np.int32)
    weights[4] = -5_000
    return {
        "schema": np.array(PROBLEM_SCHEMA),
        "sizes": np.array([6, 5, 4]),
        "spikes": (rng.random((steps, 6)) < 0.5).astype(np.uint8),
        "du": np.array([4095, 4095]),
        "dv": np.array([300, 0]),
        "threshold": np.array([400, 150]),
        "weights_1": weights,
        "source_2": source,
        "target_2": target,
        "weight_2": sparse[target, source].astype(np.int32),
    }


def test_problem_files_keep_everything(tmp_path: Path) -> None:
    written = tiny()
    write_problem(tmp_path / "p.npz", written)
    found = read_problem(tmp_path / "p.npz")
    assert found.keys() == written.keys()
    assert all(np.array_equal(found[key], written[key]) for key in written)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", np.array("other/1")),
        ("sizes", np.array([6])),
        ("spikes", np.zeros((3, 6), np.int64)),
        ("spikes", np.zeros((3, 5), np.uint8)),
        ("spikes", np.full((3, 6), 2, np.uint8)),
        ("du", np.array([1])),
        ("dv", np.array([0, 4096])),
        ("threshold", np.array([0.5, 1.0])),
        ("weights_1", np.zeros((6, 5), np.int32)),
        ("weights_1", np.zeros((5, 6))),
        ("source_2", np.array([5], np.int32)),
        ("target_2", np.array([-1], np.int32)),
        ("weight_2", np.zeros(1, np.int32)),
    ],
)
def test_a_wrong_entry_is_named(key: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match=key):
        check_problem(tiny() | {key: value})


@pytest.mark.parametrize("key", ["spikes", "dv", "weights_1", "weight_2"])
def test_a_missing_entry_is_named(key: str) -> None:
    problem = tiny()
    del problem[key]
    with pytest.raises(ValueError, match=rf"{key}.* is missing|is missing.* {key}"):
        check_problem(problem)


def test_dense_layers_list_their_weights() -> None:
    layer = layers(tiny())[0]
    weights = np.zeros((layer.rows, layer.columns), np.int64)
    weights[layer.target, layer.source] = layer.weight
    assert np.array_equal(weights, layer.dense)


def test_a_compiled_network_and_its_problem_spike_alike() -> None:
    artifact = perceptron()
    payloads = (np.random.default_rng(2).random((1, 30, 784)) < 0.1).astype(np.int64)
    trace = simulate(artifact, Stimulus(payloads=payloads))
    ours = reference(problem_of(artifact, payloads[0]))
    assert ours[-1].any()
    for values, lif in zip(ours, artifact.network.populations[1:], strict=True):
        assert np.array_equal(values, trace.spikes[lif.name][0])


def test_gated_networks_are_refused() -> None:
    artifact = program()
    with pytest.raises(ValueError, match="no peer can run"):
        problem_of(artifact, np.zeros((1, artifact.network.populations[0].size), np.int64))


def test_synapse_lists_are_a_convolution() -> None:
    rng = np.random.default_rng(4)
    kernel, image = rng.integers(-2, 3, (3, 2, 3, 3)), rng.integers(0, 2, (2, 6, 5))
    shape, lists = convolution(kernel, image.shape, stride=2, padding=1)
    assert shape == (3, 3, 3)
    assert lists["weight"].all()
    found = np.zeros(shape, np.int64)
    np.add.at(found.reshape(-1), lists["target"], lists["weight"] * image.ravel()[lists["source"]])
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    for y, x in np.ndindex(3, 3):
        patch = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        assert np.array_equal(found[:, y, x], (kernel * patch).sum(axis=(1, 2, 3)))


@pytest.mark.parametrize("name", PROBLEMS)
def test_named_problems_are_problems(name: str) -> None:
    check_problem(PROBLEMS[name](2))


def test_the_convolutional_net_is_as_large_and_active_as_it_says() -> None:
    problem = convolutional_problem(30)
    assert problem["sizes"][1:].sum() == 17_930
    assert sum(len(values) for key, values in problem.items() if key[:7] == "weight_") == 442_012
    for values in reference(problem)[:-1]:
        assert 0.05 < values[5:].mean() < 0.1


def test_a_peer_without_environment_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setitem(environment.PEERS, "sanafe", Peer("sanafe", ("2.0",)))
    assert peer_speed("sanafe", tiny()) is None
    assert "sanafe is left out: sanafe needs Python 2.0" in capsys.readouterr().err


def test_a_peer_that_crashes_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    folder = tmp_path / "sanafe"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (folder / ".installed").write_text(environment.PEERS["sanafe"].requirements.read_text())
    with pytest.raises(PeerFailedError, match="ModuleNotFoundError"):
        peer_speed("sanafe", tiny())


@pytest.mark.slow
@pytest.mark.parametrize("name", environment.PEERS)
@pytest.mark.parametrize("problem", [tiny(), perceptron_problem(20)], ids=["tiny", "perceptron"])
def test_peers_give_our_spikes(name: str, problem: Problem) -> None:
    result = peer_speed(name, problem, repeats=1)
    if result is None:
        pytest.skip(f"no environment for {name}")
    ours = reference(problem)
    assert ours[0].any()
    assert result.differing(ours) == [0, 0]
    assert result.steps == len(problem["spikes"])
    assert result.steps_per_second > 0
    if name == "sanafe":
        sent = [problem["spikes"], *ours]
        fanouts = [np.bincount(x.source, minlength=x.columns) for x in layers(problem)]
        operations = [x.sum(axis=0) @ fanout for x, fanout in zip(sent, fanouts, strict=False)]
        assert result.synaptic_ops == sum(operations)
