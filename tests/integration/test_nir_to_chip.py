"""A NIR file from another tool, all the way to the chip simulator."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest

from mapping.ir.network import Network, Relay
from mapping.ir.quantized import IntegerRelay
from mapping.nir import read_nir
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.float_net import run_float_network
from mapping.targets.load import load_target
from simulators.backend import simulate
from simulators.trace import Stimulus

INPUTS, HIDDEN, CLASSES = 10, 16, 4


def _affine(rows: int, columns: int, scale: float, seed: int) -> nir.Affine:
    rng = np.random.default_rng(seed)
    return nir.Affine(rng.normal(0, scale, (rows, columns)), rng.uniform(0.1, 0.5, rows))


def _neurons(size: int, *, gain: float) -> nir.CubaLIF:
    ones = np.ones(size)
    return nir.CubaLIF(
        tau_mem=1e-3 * ones,
        tau_syn=2.5e-4 * ones,
        r=gain * ones,
        v_leak=0 * ones,
        v_threshold=ones,
        v_reset=0 * ones,
        w_in=ones,
    )


def _graph(seed: int) -> nir.NIRGraph:
    """``input`` → Affine → CubaLIF → Affine → CubaLIF → ``output``, all with biases."""
    return nir.NIRGraph.from_list(
        nir.Input(np.array([INPUTS])),
        _affine(HIDDEN, INPUTS, 0.7, seed),
        _neurons(HIDDEN, gain=3.0),
        _affine(CLASSES, HIDDEN, 1.0, seed + 100),
        _neurons(CLASSES, gain=5.0),
        nir.Output(np.array([CLASSES])),
    )


def _read(graph: nir.NIRGraph, folder: Path) -> Network:
    nir.write(folder / "affine.nir", graph)
    return read_nir(folder / "affine.nir")


def _payloads(seed: int, *, samples: int = 40, steps: int = 40) -> np.ndarray:
    """Samples differ in which inputs are busy."""
    rng = np.random.default_rng(seed)
    busy = rng.uniform(0, 0.8, (samples, 1, INPUTS))
    return (rng.random((samples, steps, INPUTS)) < busy).astype(np.int64)


@pytest.mark.parametrize("seed", [0, 5, 8, 11])
def test_biases_before_a_cubalif_reach_the_chip(seed: int, tmp_path: Path) -> None:
    """Every state is that of the oracle, and every clear answer that of the float network."""
    network = _read(_graph(seed), tmp_path)
    constants = [p for p in network.populations if isinstance(p, Relay)]
    assert len(constants) == 2
    artifact = compile_network(network, load_target("loihi2"), CompileOptions()).artifact
    for constant in constants:
        relay = artifact.partitioned.population(constant.name)
        assert isinstance(relay, IntegerRelay)
        assert relay.bias.any()
    stimulus = Stimulus(payloads=_payloads(seed))
    chip = simulate(artifact, stimulus, probe=("u", "v"))
    oracle = simulate(artifact, stimulus, "oracle", probe=("u", "v"))
    for group in ("spikes", "u", "v"):
        for name, values in getattr(oracle, group).items():
            np.testing.assert_array_equal(getattr(chip, group)[name], values, f"{group} of {name}")

    silence = np.zeros((40, artifact.partitioned.latency_steps, INPUTS), np.int64)
    payloads = np.concatenate([stimulus.payloads, silence], axis=1)
    counts = run_float_network(network, payloads)[network.output].sum(axis=1)
    ranked = np.sort(counts, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2
    assert clear.sum() >= 10
    graph = _graph(seed)
    for node in graph.nodes.values():
        if isinstance(node, nir.Affine):
            node.bias = 0 * node.bias
    without = run_float_network(_read(graph, tmp_path), payloads)[network.output]
    assert (without.sum(axis=1) != counts).any(axis=1).mean() > 0.5, "the biases matter"
    assert len(set(counts.argmax(axis=1)[clear])) > 1
    np.testing.assert_array_equal(chip.predictions()[clear], counts.argmax(axis=1)[clear])
