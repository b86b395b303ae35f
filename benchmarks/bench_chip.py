"""Speed of the chip simulator beside Lava, a SciPy loop and the simulators of others.

python benchmarks/bench_chip.py [--quick] [--json FILE]

Network and input spikes are the same, and every peer's output spikes have to be ours; only of
SANA-FE, which rounds currents in another way, one in a thousand places may differ. Slow peers get
the first steps or samples. Speeds leave out loading and starting, ours as well as theirs; the time
for 10,000 samples is that of the whole call. SANA-FE and NengoLoihi (:mod:`chip_peers`) run one
stream at a time, in environments that are made for them, and are left out of ``--quick``.

The limit beside a speed is what the machine needs for the same synaptic sums alone
(:mod:`chip_limits`), on as many threads as there are samples for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from chip_limits import least_work, seconds
from chip_networks import ACTIVITY, convolutional, dense_chain, perceptron
from chip_peers import PEERS, Problem, convolutional_problem, peer_speed, problem_of, reference
from results import Row, row, write
from scipy_loop import scipy_loop

from mapping import write_artifact
from mapping.artifact.schema import Artifact
from simulators import ExecutionTrace, Stimulus, simulate
from simulators.chip.layout import lay_out

STEPS = 32
REPEATS = 25
"""Of our own single streams, which are short enough to be disturbed by whatever else runs."""
START_LIMIT_S = 3.0
"""How long a user may wait from starting Python to the first step [s]."""
FIRST_STEP = """
import sys
import numpy as np
from mapping import load_artifact
from simulators import Stimulus, simulate
artifact = load_artifact(sys.argv[1])
simulate(artifact, Stimulus(payloads=np.zeros((1, 1, *artifact.network.input.shape), np.int8)))
"""


def spikes(samples: int, steps: int, shape: tuple[int, ...], activity: float) -> Stimulus:
    """Random input."""
    rng = np.random.default_rng(1)
    payloads = np.zeros((samples, steps, *shape), np.int8)
    for sample in payloads:
        sample[:] = rng.random(sample.shape, np.float32) < activity
    return Stimulus(payloads=payloads)


def fastest(run: Callable[[], ExecutionTrace], repeats: int) -> ExecutionTrace:
    """Best of ``repeats`` runs."""
    return min((run() for _ in range(repeats)), key=lambda trace: trace.seconds)


def speed(trace: ExecutionTrace) -> float:
    """Steps per second, all samples together."""
    return trace.samples * trace.steps / trace.seconds


def check(name: str, found: np.ndarray, trace: ExecutionTrace, shown: int) -> None:
    """Raise AssertionError unless a peer's output spikes are ours in the first ``shown`` steps."""
    expected = trace.spikes[trace.output][: len(found), :shown]
    differing = (found[:, :shown] != expected).mean()
    assert expected.any(), "there is nothing to compare"
    assert differing <= (1e-3 if name.startswith("sanafe") else 0), f"{name} differs"


def in_process_peers(
    artifact: Artifact, stimulus: Stimulus, trace: ExecutionTrace, names: Iterable[str]
) -> dict[str, float]:
    """Steps per second of the peers that run in this process, checked; slow ones get less input."""
    few = Stimulus(payloads=stimulus.payloads[:10, :200])
    runs = {
        "scipy": lambda: scipy_loop(artifact, stimulus.first(200)),
        "oracle": lambda: simulate(artifact, few, "oracle"),
        "lava": lambda: simulate(artifact, few, "lava"),
        "lava, fused": lambda: simulate(artifact, few, "lava", fuse=True),
    }
    found = {}
    for name in names:
        if name.startswith("lava") and not find_spec("lava"):
            continue
        other = fastest(runs[name], 1 if name.startswith("lava") else 3)
        shown = stimulus.steps if name == "scipy" else few.steps
        check(name, other.spikes[other.output], trace, shown)
        found[name] = speed(other)
    return found


def separate_peers(
    problem: Problem, trace: ExecutionTrace, threads: dict[str, tuple[str, int]]
) -> dict[str, float]:
    """Steps per second of the peers with environments of their own, checked.

    Args:
        problem: what they solve.
        trace: what we found.
        threads: peer and number of its threads by the name in the row.
    """
    found = {}
    for name, (peer, count) in threads.items():
        result = peer_speed(peer, problem, threads=count)
        if result:
            check(name, result.spikes[-1][None], trace, result.steps)
            found[name] = result.steps_per_second
    return found


def limit_of(
    artifact: Artifact, stimulus: Stimulus, trace: ExecutionTrace, threads: int = 1
) -> float:
    """Steps per second if only synaptic sums had to be made, the samples spread over threads."""
    sent = [p.name for p in artifact.network.populations[1:-1]]
    works = []
    for part in np.array_split(np.arange(min(stimulus.samples, 200)), threads):
        trains = [stimulus.payloads[part], *(trace.spikes[name][part] for name in sent)]
        flat = [train.reshape(-1, int(np.prod(train.shape[2:]))) for train in trains]
        works.append(least_work(artifact, flat))
    return min(stimulus.samples, 200) * trace.steps / seconds(works, 5)


def bench_stream(artifact: Artifact, *, quick: bool) -> list[Row]:
    """One stream through a perceptron."""
    stimulus = spikes(1, 200 if quick else 2000, (784,), ACTIVITY)
    simulate(artifact, stimulus, steps=1)
    trace = fastest(lambda: simulate(artifact, stimulus), REPEATS)
    peers = in_process_peers(artifact, stimulus, trace, ("scipy", "oracle", "lava", "lava, fused"))
    if not quick:
        problem = problem_of(artifact, stimulus.payloads[0])
        peers |= separate_peers(problem, trace, {name: (name, 1) for name in PEERS})
    case = f"{artifact.partitioned.name}, {ACTIVITY:.0%} activity, one stream"
    limit = limit_of(artifact, stimulus, trace)
    return [row(case, "speed", "steps per second", speed(trace), peers, limit)]


def bench_batch(artifact: Artifact, *, quick: bool) -> list[Row]:
    """Many samples through a perceptron, on all cores, with all counts."""
    samples = 200 if quick else 10_000
    stimulus = spikes(samples, STEPS, (784,), ACTIVITY)
    simulate(artifact, stimulus.first(1))
    durations, traces = [], []
    for _ in range(5):
        start = time.perf_counter()
        trace = simulate(artifact, stimulus)
        durations.append(time.perf_counter() - start)
        traces = [min([trace, *traces], key=lambda one: one.seconds)]
    peers = in_process_peers(artifact, stimulus, traces[0], ("scipy", "lava", "lava, fused"))
    limit = limit_of(artifact, stimulus, traces[0], len(os.sched_getaffinity(0)))
    case = f"{artifact.partitioned.name}, {ACTIVITY:.0%} activity, {samples:,} x {STEPS} steps"
    total = samples * traces[0].steps
    took = {name: total / value for name, value in peers.items()}
    return [
        row(case, "duration", "s", min(durations), took, total / limit),
        row(case, "speed", "steps per second", speed(traces[0]), peers, limit),
    ]


def bench_dense(*, quick: bool) -> list[Row]:
    """Synaptic operations of one large layer on one core."""
    size = 256 if quick else 1024
    artifact = dense_chain((size, size))
    stimulus = spikes(1, 200 if quick else 2000, (size,), ACTIVITY)
    simulate(artifact, stimulus, steps=1)
    trace = fastest(lambda: simulate(artifact, stimulus), REPEATS)
    per_step = int(trace.counts.synaptic_op.sum()) / trace.steps
    peers = in_process_peers(artifact, stimulus, trace, ("scipy",))
    peers = {name: value * per_step for name, value in peers.items()}
    limit = limit_of(artifact, stimulus, trace) * per_step
    case = f"{size}x{size} dense, {ACTIVITY:.0%} activity, one core"
    return [
        row(case, "speed", "synaptic operations per second", speed(trace) * per_step, peers, limit)
    ]


def bench_convolution(artifact: Artifact, *, quick: bool) -> list[Row]:
    """One stream through a convolutional net, every layer checked."""
    problem = convolutional_problem(20 if quick else 200)
    shape = artifact.network.input.shape
    stimulus = Stimulus(payloads=problem["spikes"].astype(np.int8).reshape(1, -1, *shape))
    simulate(artifact, stimulus, steps=1)
    trace = fastest(lambda: simulate(artifact, stimulus), REPEATS)
    for lif, expected in zip(artifact.network.populations[1:], reference(problem), strict=True):
        assert np.array_equal(trace.spikes[lif.name][0, : stimulus.steps], expected), lif.name
    peers = in_process_peers(artifact, stimulus, trace, ("scipy",))
    if not quick:
        threads = {"sanafe": ("sanafe", 1), "sanafe, 2 threads": ("sanafe", 2)}
        peers |= separate_peers(problem, trace, threads)
    case = f"{artifact.partitioned.name}, {ACTIVITY:.0%} activity, one stream"
    limit = limit_of(artifact, stimulus, trace)
    return [row(case, "speed", "steps per second", speed(trace), peers, limit)]


def bench_activity(artifact: Artifact, *, quick: bool) -> list[Row]:
    """How the cost of a step grows with the share of inputs that spike."""
    rows = []
    for activity in (0, 0.001, 0.01, 0.1):
        stimulus = spikes(1, 20 if quick else 200, artifact.network.input.shape, activity)
        trace = fastest(lambda s=stimulus: simulate(artifact, s), REPEATS)
        case = f"{artifact.partitioned.name}, {activity:.1%} activity, one stream"
        rows.append(row(case, "step", "us", 1e6 / speed(trace), {}))
    return rows


def bench_start(artifact: Artifact, *, quick: bool) -> list[Row]:
    """From starting Python to the end of the first step, once kernels are compiled."""
    durations = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        write_artifact(artifact, {}, program)
        command = [sys.executable, "-c", FIRST_STEP, str(program)]
        for _ in range(1 + (1 if quick else 3)):
            start = time.perf_counter()
            subprocess.run(command, check=True)
            durations.append(time.perf_counter() - start)
    case = f"{artifact.partitioned.name}, new interpreter to first step, kernels cached"
    return [row(case, "duration", "s", min(durations[1:]), {}, START_LIMIT_S)]


def bench_memory(artifact: Artifact) -> list[Row]:
    """Memory for synapses beside the byte that an 8-bit weight takes."""
    synapses = sum(p.synapses.count for p in artifact.network.projections)
    memory = lay_out(artifact, 0.0).weight_bytes / synapses
    return [row(artifact.partitioned.name, "memory", "B per dense 8-bit synapse", memory, {}, 1.0)]


def bench(*, quick: bool) -> list[Row]:
    """The rows of all cases."""
    small, large = perceptron(), convolutional()
    return [
        *bench_stream(small, quick=quick),
        *bench_batch(small, quick=quick),
        *bench_dense(quick=quick),
        *bench_convolution(large, quick=quick),
        *bench_activity(large, quick=quick),
        *bench_start(small, quick=quick),
        *bench_memory(small),
    ]


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = bench(quick=options.quick)
    for r in rows:
        ratios = {**r["peers"], "limit": r["limit"]}
        beside = ", ".join(f"{r['ours'] / of:.3g} × {n}" for n, of in ratios.items() if of)
        print(f"{r['case']}: {r['ours']:,.4g} {r['unit']}" + (f" = {beside}" if beside else ""))
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy"))


if __name__ == "__main__":
    main()
