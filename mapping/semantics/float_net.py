"""Run a float network in plain NumPy, with the conventions of :mod:`mapping.ir.network`."""

from __future__ import annotations

import numpy as np

from mapping.ir.network import Dense, FloatArray, Input, Lif, LowRank, Network, Relay
from mapping.semantics.fixedpoint import Int64Array


def run_float_network(network: Network, payloads: Int64Array) -> dict[str, FloatArray]:
    """Run ``network`` from zero state.

    Args:
        network: what to run; factor pairs run with their relay, at full rank.
        payloads: ``(samples, steps, *input shape)`` integers; as many steps are run.

    Returns:
        What each population but the input sends, ``(samples, steps, size)``.
    """
    samples, steps = payloads.shape[:2]
    stimulus = payloads.reshape(samples, steps, -1) * network.input.payload_scale
    inner = [p for p in network.populations if not isinstance(p, Input)]
    sent = {p.name: np.zeros((samples, steps, p.size)) for p in inner}
    u, v, a = ({p.name: np.zeros((samples, p.size)) for p in inner} for _ in range(3))
    relayed = {
        p.name: np.zeros((samples, p.rank)) for p in network.projections if isinstance(p, LowRank)
    }

    for step in range(steps):
        now = {network.input.name: stimulus[:, step]}
        for population in inner:
            name = population.name
            match population:
                case Lif(current_decay=alpha, voltage_decay=beta, threshold=threshold, bias=bias):
                    u[name] = alpha * u[name] + a[name]
                    v[name] = beta * v[name] + u[name] + bias
                    now[name] = (v[name] > threshold).astype(np.float64)
                    v[name] = np.where(now[name] > 0, 0.0, v[name])
                case Relay(threshold=thresholds):
                    now[name] = np.where(np.abs(a[name]) > thresholds, a[name], 0.0)
            sent[name][:, step] = now[name]
        a = {p.name: np.zeros((samples, p.size)) for p in inner}
        for projection in network.projections:
            spikes = now[projection.source]
            match projection:
                case Dense(weight=weight):
                    a[projection.target] += spikes @ weight.T
                case LowRank(U=U, V=V, relay_threshold=thresholds):
                    z = relayed[projection.name]
                    a[projection.target] += np.where(np.abs(z) > thresholds, z, 0.0) @ U.T
                    relayed[projection.name] = spikes @ V
    return sent
