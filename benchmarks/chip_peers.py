"""Chip simulators of others on the same network, weights and input spikes as ours.

python benchmarks/chip_peers.py [--problem NAME|FILE] [--peer NAME] [--steps N] [--threads N]

What agrees with our integer arithmetic (:func:`reference`), measured on 784-128-10 with 10 % of the
inputs active, 2,000 steps, ``dv`` = 410:

* NengoLoihi 1.1: every spike, whatever the decays. It wraps inputs past 21 bits, which we do not,
  so the runner lets it raise there.
* SANA-FE 2.2.9: every spike if currents have no memory (``du`` = 4095): it rounds and saturates
  the voltage as the chip does. It keeps a current as a float, never rounded, so with memory spikes
  move by a step now and then. Of 6,600 and 430 spikes in the two layers (``du`` = 410) 61 and 18
  places differ, the totals by 1 and 0; of 5,600 and 235 (1000) 0 and 21; none with ``du`` = 2047.
* On the convolutional net, 200 steps, both give every spike.

Neither knows graded spikes, relays or gates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers.environment import PEERS, PeerUnavailableError, run_peer
from peers.exchange import PROBLEM_SCHEMA, Problem, layers, read_problem, write_problem
from scipy.sparse import csr_array

from mapping.artifact.schema import Artifact
from mapping.semantics import fixedpoint as fx

NO_CURRENT_MEMORY = 4095
"""``du`` at which a current lasts one step, all that SANA-FE computes exactly."""


@dataclass(frozen=True, eq=False)
class PeerResult:
    """What a peer did.

    Attributes:
        peer: name and version.
        steps, seconds: of the simulation loop alone.
        spikes: ``(steps, size)`` of each layer but the input.
        synaptic_ops: counted by the peer, None if it counts none.
    """

    peer: str
    steps: int
    seconds: float
    spikes: tuple[np.ndarray, ...]
    synaptic_ops: int | None

    @property
    def steps_per_second(self) -> float:
        """Speed of one stream."""
        return self.steps / self.seconds

    def differing(self, ours: Sequence[np.ndarray]) -> list[int]:
        """Per layer, in how many places (step, compartment) the spikes are not ``ours``."""
        return [int((a != b).sum()) for a, b in zip(self.spikes, ours, strict=True)]


def peer_speed(
    name: str, problem: Problem, *, repeats: int = 3, threads: int = 1, timeout_s: float = 600
) -> PeerResult | None:
    """Let the peer called ``name`` solve ``problem``, best of ``repeats`` runs.

    Only SANA-FE can use more than one of the ``threads``.

    None, with a message on stderr, if its environment cannot be made on this machine.

    Raises:
        PeerFailedError: the peer crashed or took longer than ``timeout_s``.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "problem.npz", Path(folder) / "result.npz"
        write_problem(given, problem)
        try:
            arguments = ("--repeats", str(repeats), "--threads", str(threads))
            run_peer(name, given, answer, *arguments, timeout_s=timeout_s)
        except PeerUnavailableError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            return None
        with np.load(answer, allow_pickle=False) as file:
            result = dict(file)
    synaptic_ops = int(result["synaptic_ops"])
    return PeerResult(
        peer=str(result["peer"]),
        steps=len(problem["spikes"]),
        seconds=float(result["seconds"]),
        spikes=tuple(result[f"spikes_{k}"] for k in range(1, len(problem["sizes"]))),
        synaptic_ops=synaptic_ops if synaptic_ops >= 0 else None,
    )


def reference(problem: Problem) -> list[np.ndarray]:
    """Spikes of each layer, ``(steps, size)``, by the chip's integer arithmetic."""
    chain = layers(problem)
    weights = [
        csr_array((x.weight.astype(np.int64), (x.target, x.source)), shape=(x.rows, x.columns))
        for x in chain
    ]
    state = [(np.zeros(x.rows, np.int64),) * 2 for x in chain]
    found = [np.zeros((len(problem["spikes"]), x.rows), np.uint8) for x in chain]
    sent = [np.zeros(x.columns, np.int64) for x in chain]
    for step, stimulus in enumerate(problem["spikes"]):
        inputs = [fx.wrap32(matrix @ spikes) for matrix, spikes in zip(weights, sent, strict=True)]
        sent = [stimulus.astype(np.int64)]
        for k, (x, a) in enumerate(zip(chain, inputs, strict=True)):
            *state[k], spikes = fx.lif_step(
                *state[k], a, du=x.du, dv=x.dv, threshold=x.threshold, bias=np.zeros(1, np.int64)
            )
            found[k][step] = spikes
            sent.append(spikes)
        sent.pop()
    return found


def problem_of(artifact: Artifact, payloads: np.ndarray) -> Problem:
    """The problem that a compiled chain of LIF layers solves for ``(steps, inputs)`` spikes.

    Appends the steps that the last spikes need to reach the output.

    Raises:
        ValueError: the program is more than a chain of binary LIF layers without bias, or has a
            sum that is shifted right, which no peer does.
    """
    network = artifact.network
    populations, projections = network.populations, network.projections
    for before, projection, lif in zip(populations, projections, populations[1:], strict=False):
        spec = projection.spec
        whole = (0, before.size, 0, lif.size)
        slices = (spec.source_start, spec.source_stop, spec.target_start, spec.target_stop)
        joined = (spec.source, spec.target, slices) == (before.name, lif.name, whole)
        plain = hasattr(lif, "dv") and not lif.bias_mantissa.any() and not spec.graded
        if not joined or not plain or spec.exponent < 0 or spec.port != "signal":
            raise ValueError(f"no peer can run projection {spec.name} into {lif.name}")
    if len(projections) != len(populations) - 1:
        raise ValueError("no peer can run anything but a chain of layers")
    lifs = populations[1:]
    silence = np.zeros((network.latency_steps, populations[0].size), np.uint8)
    return {
        "schema": np.array(PROBLEM_SCHEMA),
        "sizes": np.array([p.size for p in populations]),
        "spikes": np.concatenate([payloads.astype(np.uint8), silence]),
        **{key: np.array([getattr(x, key) for x in lifs]) for key in ("du", "dv", "threshold")},
        **{
            f"weights_{k}": (p.weights.astype(np.int32) << p.spec.exponent)
            for k, p in enumerate(projections, start=1)
        },
    }


def perceptron_problem(steps: int, du: int = NO_CURRENT_MEMORY) -> Problem:
    """784-128-10 with random weights; 10 % of the inputs spike in a step."""
    rng = np.random.default_rng(0)
    return {
        "schema": np.array(PROBLEM_SCHEMA),
        "sizes": np.array([784, 128, 10]),
        "spikes": (rng.random((steps, 784)) < 0.1).astype(np.uint8),
        "du": np.array([du, du]),
        "dv": np.array([410, 410]),
        "threshold": np.array([2000, 500]),
        "weights_1": rng.integers(-127, 128, (128, 784), dtype=np.int32),
        "weights_2": rng.integers(-127, 128, (10, 128), dtype=np.int32),
    }


def convolution(
    kernel: np.ndarray, shape: tuple[int, int, int], stride: int, padding: int
) -> tuple[tuple[int, int, int], dict[str, np.ndarray]]:
    """Output shape and synapse lists of a 2-D convolution without its zero weights.

    Args:
        kernel: ``(channels out, channels in, height, width)`` integers.
        shape: channels, height and width of the source.
        stride, padding: of both axes.
    """
    _, height, width = shape
    high, wide = ((n + 2 * padding - kernel.shape[2]) // stride + 1 for n in (height, width))
    out, into, i, j, y, x = np.meshgrid(
        *(np.arange(n) for n in (*kernel.shape, high, wide)), indexing="ij"
    )
    row, column = y * stride + i - padding, x * stride + j - padding
    weight = kernel[out, into, i, j]
    kept = (weight != 0) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    lists = {
        "source": (into * height + row) * width + column,
        "target": (out * high + y) * wide + x,
        "weight": weight,
    }
    return (len(kernel), high, wide), {
        name: values[kept].astype(np.int32) for name, values in lists.items()
    }


@dataclass(frozen=True, eq=False)
class Stage:
    """One layer of the convolutional net.

    Attributes:
        kernel: ``(channels out, channels in, height, width)``, with a zero wherever pooling has no
            synapse.
        stride, padding: of both axes.
        pools: each channel sees itself alone.
        threshold: of its compartments.
    """

    kernel: np.ndarray
    stride: int
    padding: int
    pools: bool
    threshold: int


CONVOLUTIONAL_INPUT = (2, 34, 34)
"""Channels, height and width of what the convolutional net sees."""
CONVOLUTIONAL_DV = 410


def convolutional_stages() -> list[Stage]:
    """The layers of the convolutional net; thresholds let 5 to 10 % of the compartments spike."""
    rng = np.random.default_rng(0)

    def signed(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape)

    def pool(channels: int) -> np.ndarray:
        return np.eye(channels, dtype=int)[..., None, None] * np.full((2, 2), 100)

    return [
        Stage(signed(12, 2, 3, 3), 1, 0, False, 240),
        Stage(pool(12), 2, 0, True, 250),
        Stage(signed(32, 12, 3, 3), 2, 1, False, 430),
        Stage(pool(32), 2, 0, True, 240),
        Stage(signed(10, 32, 4, 4), 1, 0, False, 760),
    ]


def convolutional_problem(steps: int, activity: float = 0.1) -> Problem:
    """2x34x34, conv 12, pool, conv 32, pool, 10: 17,930 compartments, 442,012 synapses.

    A share ``activity`` of the inputs spikes in a step; 10 % make 5 to 10 % of the compartments
    spike.
    """
    stages = convolutional_stages()
    shape = CONVOLUTIONAL_INPUT
    sizes = [int(np.prod(shape))]
    spikes = np.random.default_rng(1).random((steps, sizes[0])) < activity
    problem = {
        "schema": np.array(PROBLEM_SCHEMA),
        "spikes": spikes.astype(np.uint8),
        "du": np.full(len(stages), NO_CURRENT_MEMORY),
        "dv": np.full(len(stages), CONVOLUTIONAL_DV),
        "threshold": np.array([stage.threshold for stage in stages]),
    }
    for k, stage in enumerate(stages, start=1):
        shape, lists = convolution(stage.kernel, shape, stage.stride, stage.padding)
        sizes.append(int(np.prod(shape)))
        problem |= {f"{name}_{k}": values for name, values in lists.items()}
    return problem | {"sizes": np.array(sizes)}


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "perceptron": perceptron_problem,
    "perceptron-with-current": lambda steps: perceptron_problem(steps, du=2047),
    "convolutional": convolutional_problem,
}


def main() -> None:
    """Print how fast each peer is and whether its spikes are ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", default="perceptron", help=f"{', '.join(PROBLEMS)} or a file")
    parser.add_argument("--peer", choices=PEERS, action="append")
    parser.add_argument("--steps", type=int, default=200, help="of a named problem")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of SANA-FE")
    options = parser.parse_args()
    make = PROBLEMS.get(options.problem)
    problem = make(options.steps) if make else read_problem(Path(options.problem))
    ours = reference(problem)
    sizes = "-".join(str(size) for size in problem["sizes"])
    activity = ", ".join(f"{values.mean():.1%}" for values in ours)
    print(f"{sizes}, {len(problem['spikes'])} steps, {activity} of each layer active")
    print(f"spikes of each layer: ours {[int(values.sum()) for values in ours]}")
    for name in options.peer or PEERS:
        threads = options.threads if name == "sanafe" else 1
        result = peer_speed(name, problem, repeats=options.repeats, threads=threads)
        if result:
            spikes = [int(values.sum()) for values in result.spikes]
            print(
                f"{result.peer}: {result.steps_per_second:,.1f} steps per second; spikes {spikes}, "
                f"{result.differing(ours)} in other places; synaptic ops {result.synaptic_ops}"
            )


if __name__ == "__main__":
    main()
