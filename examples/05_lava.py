"""Put a compiled program into a Lava network, between a source and a Process of your own.

python examples/05_lava.py [OUT]        (after 02_compile.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mapping import load_artifact
from mapping.artifact.schema import Artifact
from simulators import load_stimulus, simulate
from simulators.lava import lava_network
from simulators.lava.guard import run_guarded
from simulators.lava.runtime import LavaRuntime


def count_spikes(artifact: Artifact, payloads: np.ndarray) -> np.ndarray:
    """Spikes of each class and sample: a job for an interpreter in which Lava can be imported."""
    from lava.proc.io.source import RingBuffer
    from lava_tally import Tally

    samples, steps, inputs = payloads.shape
    source = RingBuffer(data=payloads.reshape(samples * steps, inputs).T)
    program = lava_network(artifact, fuse=True)
    answer = artifact.partitioned.output
    tally = Tally(size=program.size(answer))
    source.s_out.connect(program.s_in)
    program.output(answer).connect(tally.s_in)
    counts = []
    with LavaRuntime(source) as runtime:
        for _ in range(samples):
            program.reset(runtime)
            runtime.write(tally.count, np.zeros(program.size(answer)))
            runtime.run(steps)
            counts.append(runtime.read(tally.count))
    return np.array(counts, np.int64)


def main(output: Path) -> None:
    artifact = load_artifact(output / "adaptive")
    test = load_stimulus(output / "test.npz").first(20)
    # The answer comes as many steps after the input as the program's pipeline is long.
    silence = ((0, 0), (0, artifact.partitioned.latency_steps), (0, 0))
    payloads = np.pad(test.payloads.reshape(test.samples, test.steps, -1), silence)
    counts = run_guarded(
        f"{Path(__file__).stem}:count_spikes",
        {"artifact": artifact, "payloads": payloads},
        deadline_s=120.0,
    )
    assert isinstance(counts, np.ndarray)
    expected = simulate(artifact, test).spikes[artifact.partitioned.output].sum(axis=1)
    print(f"{int(counts.sum())} spikes of {test.samples} digits tallied in Lava")
    print(f"as many of each class as on the chip simulator: {np.array_equal(counts, expected)}")
    print(f"accuracy {(counts.argmax(axis=1) == test.labels).mean():.0%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
