"""Speed of the chip simulator beside Lava, a SciPy loop and the simulators of others.

python benchmarks/bench_chip.py [--quick] [--json FILE]

Network and input spikes are the same, and every peer's output spikes have to be ours; only of
SANA-FE, which rounds currents in another way, one in a thousand places may differ. Lava's figure
leaves out starting and stopping it. SANA-FE and NengoLoihi (:mod:`chip_peers`) run one stream at a
time, in environments that are made for them, and are left out of ``--quick``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from chip_peers import PEERS, peer_speed, problem_of
from results import Row, row, write
from scipy.sparse import csr_array

from mapping import CompileOptions, compile_network, load_target
from mapping.artifact.schema import Artifact
from mapping.ir.network import Dense, Input, Lif, Network
from mapping.semantics import fixedpoint as fx
from simulators import ExecutionTrace, Stimulus, simulate

SIZES = (784, 128, 10)
ACTIVITY = 0.1


def perceptron() -> Artifact:
    """784-128-10 LIF with random weights, compiled for loihi2."""
    rng = np.random.default_rng(0)
    populations = [Input(name="0", shape=(SIZES[0],))]
    projections = []
    for number, (wide, narrow) in enumerate(pairwise(SIZES), start=1):
        name = str(number)
        populations.append(
            Lif(name=name, shape=(narrow,), current_decay=0.5, voltage_decay=0.9, threshold=1.0)
        )
        weight = rng.normal(0.0, 1.0 / np.sqrt(ACTIVITY * wide), (narrow, wide))
        projections.append(
            Dense(name=f"w{name}", source=str(number - 1), target=name, weight=weight)
        )
    network = Network(
        name="784-128-10",
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
    )
    return compile_network(network, load_target("loihi2"), CompileOptions()).artifact


def scipy_loop(artifact: Artifact, stimulus: Stimulus) -> ExecutionTrace:
    """A plain step loop: SciPy sparse matrices and vectorised LIF, all samples at once."""
    network = artifact.network
    lifs = network.populations[1:]
    weights = [csr_array(p.weights.astype(np.int64)) for p in network.projections]
    shape = (stimulus.samples, network.latency_steps, stimulus.payloads.shape[2])
    payloads = np.concatenate([stimulus.payloads, np.zeros(shape, np.int64)], axis=1)
    start = time.perf_counter()
    state = [(np.zeros((stimulus.samples, p.size), np.int64),) * 2 for p in lifs]
    sums = [np.zeros((stimulus.samples, p.size), np.int64) for p in lifs]
    out = np.zeros((stimulus.samples, payloads.shape[1], lifs[-1].size), np.int64)
    for step in range(payloads.shape[1]):
        sent = [payloads[:, step]]
        for number, lif in enumerate(lifs):
            bias = lif.bias_mantissa.astype(np.int64) << lif.bias_exponent
            *state[number], spikes = fx.lif_step(
                *state[number],
                sums[number],
                du=lif.du,
                dv=lif.dv,
                threshold=lif.threshold,
                bias=bias,
            )
            sent.append(spikes)
        out[:, step] = sent[-1]
        sums = [
            fx.shift((matrix @ spikes.T).T, projection.spec.exponent)
            for matrix, spikes, projection in zip(weights, sent, network.projections, strict=False)
        ]
    seconds = time.perf_counter() - start
    return ExecutionTrace(
        backend="scipy",
        program="",
        output=network.output,
        seconds=seconds,
        price=0.0,
        spikes={network.output: out},
        u={},
        v={},
    )


def steps_per_second(
    run: Callable[[], ExecutionTrace], repeats: int
) -> tuple[float, ExecutionTrace]:
    """Best of ``repeats`` runs."""
    traces = [run() for _ in range(repeats)]
    best = min(traces, key=lambda trace: trace.seconds)
    return best.samples * best.steps / best.seconds, best


def bench(*, quick: bool) -> list[Row]:
    """One row per case."""
    artifact = perceptron()
    rng = np.random.default_rng(1)
    rows = []
    for case, samples in (("one stream", 1), ("batch", 20 if quick else 200)):
        steps = 200 if samples == 1 else 32
        payloads = (rng.random((samples, steps, SIZES[0])) < ACTIVITY).astype(np.int64)
        stimulus = Stimulus(payloads=payloads)
        simulate(artifact, stimulus.first(1))
        ours, trace = steps_per_second(lambda s=stimulus: simulate(artifact, s), 3)
        few = stimulus.first(min(samples, 10))
        runs = {
            "scipy": lambda s=stimulus: scipy_loop(artifact, s),
            "oracle": lambda s=few: simulate(artifact, s, "oracle"),
        }
        if find_spec("lava"):
            runs["lava"] = lambda s=few: simulate(artifact, s, "lava")
            runs["lava, fused"] = lambda s=few: simulate(artifact, s, "lava", fuse=True)
        peers = {}
        for name, run in runs.items():
            speed, other = steps_per_second(run, 1 if name.startswith("lava") else 3)
            expected = trace.spikes[trace.output][: other.samples]
            assert np.array_equal(other.spikes[other.output], expected), f"{name} differs"
            peers[name] = speed
        if samples == 1 and not quick:
            problem = problem_of(artifact, payloads[0])
            for name in PEERS:
                result = peer_speed(name, problem)
                if result:
                    differing = (result.spikes[-1] != trace.spikes[trace.output][0]).mean()
                    assert differing <= (1e-3 if name == "sanafe" else 0), f"{name} differs"
                    peers[name] = result.steps_per_second
        case = f"{artifact.partitioned.name}, {ACTIVITY:.0%} activity, {case}"
        rows.append(row(case, "speed", "steps per second", ours, peers))
    return rows


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = bench(quick=options.quick)
    for r in rows:
        peers = ", ".join(f"{r['ours'] / speed:.1f} × {n}" for n, speed in r["peers"].items())
        print(f"{r['case']}: {r['ours']:,.0f} {r['unit']} = {peers}")
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy"))


if __name__ == "__main__":
    main()
