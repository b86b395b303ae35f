"""Time SANA-FE on a problem file, see ``exchange.py``; run by SANA-FE's own environment.

The chip is the Loihi that SANA-FE ships (8 x 4 tiles of 4 cores); every layer starts on a core of
its own and fills cores of 1,024 compartments, which is SANA-FE's fastest mapping: 256 per core take
1.2 times as long on the convolutional net. Loading happens before the clock starts, and the spikes
come from another run, which is not timed.

SANA-FE's LIF keeps the potential in units of 2**-6, as the chip does, and rounds it towards zero
when it decays, but neither rounds nor wraps the current. So spikes are the chip's if the current
has no memory (``du`` = 4095).
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import sanafe
from exchange import Problem, layers, read_problem, write_result

DECAY_UNIT = 1 << 12
STATE_UNIT = 1 << 6
STATE_LIMIT = (1 << 23) - 1
PER_CORE = 1024


def build(problem: Problem, architecture: sanafe.Architecture) -> sanafe.Network:
    """The network, mapped to cores."""
    network = sanafe.Network()
    free_cores = (core for tile in architecture.tiles for core in tile.cores)

    def map_to_cores(group: sanafe.NeuronGroup) -> None:
        cores = list(islice(free_cores, -(-len(group) // PER_CORE)))
        for number, neuron in enumerate(group):
            neuron.map_to_core(cores[number // PER_CORE])

    source = network.create_neuron_group("0", int(problem["sizes"][0]))
    for number, (neuron, train) in enumerate(zip(source, problem["spikes"].T, strict=True)):
        neuron.set_attributes(
            soma_hw_name=f"loihi_inputs[{number % PER_CORE}]",
            model_attributes={"spikes": train.astype(bool).tolist()},
        )
    map_to_cores(source)
    for number, layer in enumerate(layers(problem), start=1):
        target = network.create_neuron_group(
            str(number),
            layer.rows,
            model_attributes={
                "threshold": float(layer.threshold),
                "leak_decay": 1 - layer.dv / DECAY_UNIT,
                "input_decay": 1 - (layer.du + 1) / DECAY_UNIT,
                "reset_mode": "hard",
                "reset": 0.0,
                "reverse_threshold": -STATE_LIMIT / STATE_UNIT,
                "reverse_reset_mode": "saturate",
            },
            soma_hw_name="loihi_lif",
            default_synapse_hw_name=(
                "loihi_sparse_synapse" if layer.dense is None else "loihi_dense_synapse"
            ),
            log_spikes=True,
        )
        map_to_cores(target)
        weights = {"w": layer.weight.astype(float).tolist()}
        if layer.dense is None:
            pairs = list(zip(layer.source.tolist(), layer.target.tolist(), strict=True))
            source.connect_neurons_sparse(target, weights, pairs)
        else:
            source.connect_neurons_dense(target, weights)
        source = target
    return network


def main() -> None:
    """Solve the problem file and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    problem = read_problem(options.problem)
    steps = len(problem["spikes"])
    architecture = sanafe.load_loihi()
    network = build(problem, architecture)
    settings = {"timing_model": "simple", "processing_threads": options.threads}
    chip = sanafe.SpikingChip(architecture)
    seconds = []
    for _ in range(options.repeats):
        chip.load(network)
        start = time.perf_counter()
        figures = chip.sim(steps, **settings)
        seconds.append(time.perf_counter() - start)
    chip.load(network)
    trace = chip.sim(steps, spike_trace=True, **settings)["spike_trace"]
    spikes = [np.zeros((steps, size), np.uint8) for size in problem["sizes"][1:]]
    for step, addresses in enumerate(trace):
        for address in addresses:
            spikes[int(address.group_name) - 1][step, address.neuron_offset] = 1
    fired = figures["neurons_fired"] - int(problem["spikes"].sum())
    assert fired == sum(int(values.sum()) for values in spikes), "the timed run had other spikes"
    write_result(
        options.result,
        peer=f"sanafe {version('sanafe')}",
        seconds=min(seconds),
        spikes=spikes,
        synaptic_ops=figures["spikes"],
    )


if __name__ == "__main__":
    main()
