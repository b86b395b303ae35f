"""The float runner against a loop over neurons and synapses, one number at a time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from support.networks import changed, dense_network, random_payloads
from support.spatial import spatial_network

from mapping.ir.network import Conv2d, Dense, Input, Li, Lif, Network, Sparse, SumPool2d
from mapping.ir.timing import pipeline_latency
from mapping.semantics.float_net import run_float_network


def synapses_of(projection: Dense | Sparse | Conv2d | SumPool2d) -> list[tuple[int, int, float]]:
    """``(row, column, weight)`` of every synapse, from the definition of each kind."""
    match projection:
        case Dense(weight=weight):
            return [(r, c, float(w)) for (r, c), w in np.ndenumerate(weight)]
        case Sparse(synapses=listed):
            return [
                (int(listed.targets[n]), column, float(listed.values[n]))
                for column in range(listed.starts.size - 1)
                for n in range(listed.starts[column], listed.starts[column + 1])
            ]
    conv = projection.conv
    kernel = projection.weight if isinstance(projection, Conv2d) else None
    width = conv.inputs[0] // conv.groups
    share = conv.out_channels // conv.groups
    found = []
    for (out, local, y, x), _ in np.ndenumerate(np.zeros(conv.weight_shape)):
        for row, column in np.ndindex(conv.outputs[1:]):
            above = row * conv.stride[0] + y * conv.dilation[0] - conv.padding[0]
            left = column * conv.stride[1] + x * conv.dilation[1] - conv.padding[1]
            if 0 <= above < conv.inputs[1] and 0 <= left < conv.inputs[2]:
                channel = out // share * width + local
                target = np.ravel_multi_index((out, row, column), conv.outputs)
                source = np.ravel_multi_index((channel, above, left), conv.inputs)
                value = projection.weight if kernel is None else kernel[out, local, y, x]
                found.append((int(target), int(source), float(value)))
    return found


def run_naively(network: Network, payloads: np.ndarray) -> dict[str, np.ndarray]:
    """One sample, ``(steps, inputs)``; arrays of ``(steps, size)``."""
    steps = len(payloads)
    arriving: dict[tuple[str, int, int], float] = defaultdict(float)
    inner = [p for p in network.populations if not isinstance(p, Input)]
    sent = {p.name: np.zeros((steps, p.size)) for p in inner}
    sent[network.input.name] = payloads * network.input.payload_scale
    u: dict[tuple[str, int], float] = defaultdict(float)
    v: dict[tuple[str, int], float] = defaultdict(float)
    for step in range(steps):
        for p in inner:
            assert isinstance(p, Lif | Li)
            for n in range(p.size):
                key = (p.name, n)
                u[key] = p.current_decay * u[key] + arriving[p.name, step, n]
                v[key] = p.voltage_decay * v[key] + u[key] + p.bias[n]
                if isinstance(p, Li):
                    sent[p.name][step, n] = v[key]
                elif v[key] > p.threshold:
                    sent[p.name][step, n] = 1
                    v[key] = 0.0
        for projection in network.projections:
            assert isinstance(projection, Dense | Sparse | Conv2d | SumPool2d)
            for row, column, weight in synapses_of(projection):
                delay = int(projection.delays[column]) if projection.delays.size else 0
                value = sent[projection.source][step, column]
                arriving[projection.target, step + 1 + delay, row] += weight * value
    return sent


@pytest.mark.parametrize(
    "network",
    [
        spatial_network(),
        spatial_network(payload_max=3, biases=False, seed=1),
        changed(dense_network(), "w1", delays=np.arange(6) * 2),
    ],
    ids=["spatial", "graded input", "delays"],
)
def test_every_number_is_that_of_the_naive_loop(network: Network) -> None:
    payloads = random_payloads(network, samples=2, steps=25)
    ran = run_float_network(network, payloads)
    for sample in range(2):
        wanted = run_naively(network, payloads[sample].reshape(25, -1))
        for name, values in ran.items():
            np.testing.assert_allclose(values[sample], wanted[name], rtol=1e-9, atol=1e-12)
            assert wanted[name].any()


def test_a_delayed_spike_arrives_that_much_later() -> None:
    network = changed(dense_network((3, 1)), "w1", weight=np.ones((1, 3)), delays=[0, 2, 63])
    network = changed(network, "out", threshold=0.5, current_decay=0.0)
    payloads = np.zeros((1, 70, 3), np.int64)
    payloads[0, 0] = 1
    sent = run_float_network(network, payloads)["out"]
    assert np.flatnonzero(sent[0, :, 0]).tolist() == [1, 3, 64]
    assert pipeline_latency(network.graph(), "in", "out") == 64
