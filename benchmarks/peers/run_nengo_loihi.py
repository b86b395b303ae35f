"""Time NengoLoihi's emulator on a problem file, see ``exchange.py``; run by its environment.

The blocks are built directly with the chip's integers, as its discretisation would leave them, so
nothing is rounded on the way. The emulator enforces no limits of a core, hence one block per layer.
It is strict: an overflow of the 21-bit input or 23-bit current, which ours wraps in other ways,
raises.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from exchange import Layer, Problem, layers, read_problem, write_result
from nengo_loihi.block import Axon, LoihiBlock, Synapse
from nengo_loihi.builder import Model
from nengo_loihi.builder.discretize import array_to_int
from nengo_loihi.emulator import EmulatorInterface
from nengo_loihi.inputs import SpikeInput
from scipy.sparse import csr_matrix

STATE_UNIT = 1 << 6
STATE_LIMIT = (1 << 23) - 1


class StrictEmulator(EmulatorInterface):
    """The emulator with overflows as errors."""

    strict = True


def block_of(layer: Layer, label: str) -> LoihiBlock:
    """A layer's compartments and the synapses into them."""
    block = LoihiBlock(layer.rows, label=label)
    compartment = block.compartment
    array_to_int(compartment.decay_u, layer.du)
    array_to_int(compartment.decay_v, layer.dv)
    array_to_int(compartment.vth, layer.threshold * STATE_UNIT)
    array_to_int(compartment.bias, 0)
    compartment.scale_u = compartment.scale_v = False
    compartment.vmin, compartment.vmax = -STATE_LIMIT, STATE_LIMIT
    synapse = Synapse(layer.columns, label=label)
    if layer.dense is None:
        shape = (layer.columns, layer.rows)
        entries = (layer.weight.astype(np.float32), (layer.source, layer.target))
        synapse.set_weights(csr_matrix(entries, shape=shape))
    else:
        synapse.set_weights(layer.dense.T.astype(np.float32))
    for weights in synapse.weights:
        array_to_int(weights, weights.astype(np.int64) * STATE_UNIT)
    block.add_synapse(synapse)
    return block


def build(problem: Problem) -> Model:
    """The network as NengoLoihi's chip model, already discrete."""
    model = Model()
    source = SpikeInput(int(problem["sizes"][0]))
    for step, row in enumerate(problem["spikes"], start=1):
        source.add_spikes(step, np.flatnonzero(row), permanent=True)
    model.add_input(source)
    for number, layer in enumerate(layers(problem), start=1):
        block = block_of(layer, str(number))
        axon = Axon(layer.columns)
        axon.target = block.synapses[0]
        axon.set_compartment_axon_map(np.arange(layer.columns))
        source.add_axon(axon)
        model.add_block(block)
        source = block
    return model


def run(model: Model, steps: int) -> tuple[float, np.ndarray]:
    """Seconds spent in the emulator's steps, and ``(steps, compartments)`` spikes."""
    emulator = StrictEmulator(model, seed=0)
    compartments = emulator.compartment
    spikes = np.zeros((steps, compartments.n_compartments), np.uint8)
    seconds = 0.0
    for step in range(steps):
        start = time.perf_counter()
        emulator.step()
        seconds += time.perf_counter() - start
        spikes[step] = compartments.spiked
    return seconds, spikes


def main() -> None:
    """Solve the problem file and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, choices=[1])
    options = parser.parse_args()
    problem = read_problem(options.problem)
    model = build(problem)
    runs = [run(model, len(problem["spikes"])) for _ in range(options.repeats)]
    bounds = np.cumsum(problem["sizes"][1:])[:-1]
    write_result(
        options.result,
        peer=f"nengo-loihi {version('nengo-loihi')}",
        seconds=min(seconds for seconds, _ in runs),
        spikes=np.split(runs[0][1], bounds, axis=1),
    )


if __name__ == "__main__":
    main()
