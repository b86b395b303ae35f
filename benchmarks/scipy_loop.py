"""What one would write without us: a step loop of SciPy sparse matrices and vectorised LIF."""

from __future__ import annotations

import time

import numpy as np
from scipy.sparse import csr_array

from mapping.artifact.schema import Artifact
from mapping.semantics import fixedpoint as fx
from simulators import ExecutionTrace, Stimulus


def scipy_loop(artifact: Artifact, stimulus: Stimulus) -> ExecutionTrace:
    """Run a chain of LIF layers, all samples at once."""
    network = artifact.network
    lifs = network.populations[1:]
    weights = [csr_array(p.weights.astype(np.int64)) for p in network.projections]
    shown = stimulus.payloads.reshape(stimulus.samples, stimulus.steps, -1).astype(np.int64)
    payloads = np.pad(shown, ((0, 0), (0, network.latency_steps), (0, 0)))
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
