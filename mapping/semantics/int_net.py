"""The oracle: run a quantised network in plain NumPy, population by population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.ir.network import Input
from mapping.ir.quantized import IntegerLif, IntegerRelay, QuantizedNetwork
from mapping.semantics import fixedpoint as fx
from mapping.semantics.fixedpoint import Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerTrace:
    """Every step of every population but the input; arrays are ``(samples, steps, size)``.

    Attributes:
        spikes: payloads sent (0 or 1 for LIF).
        u, v: synaptic current and membrane voltage of LIF populations after the step.
    """

    spikes: dict[str, Int64Array]
    u: dict[str, Int64Array]
    v: dict[str, Int64Array]


def run_integer_network(network: QuantizedNetwork, payloads: Int64Array) -> IntegerTrace:
    """Run ``network`` from zero state.

    Args:
        network: what to run.
        payloads: ``(samples, steps, *input shape)`` integers; as many steps are run.
    """
    samples, steps = payloads.shape[:2]
    stimulus = payloads.reshape(samples, steps, -1).astype(np.int64)
    names = [p.name for p in network.populations if not isinstance(p, Input)]
    sizes = {p.name: p.size for p in network.populations}
    spikes = {n: np.zeros((samples, steps, sizes[n]), np.int64) for n in names}
    lifs = [p.name for p in network.populations if isinstance(p, IntegerLif)]
    u = {n: np.zeros((samples, steps, sizes[n]), np.int64) for n in lifs}
    v = {n: np.zeros((samples, steps, sizes[n]), np.int64) for n in lifs}
    rest = {n: (np.zeros((samples, sizes[n]), np.int64),) * 2 for n in lifs}
    a = {n: np.zeros((samples, sizes[n]), np.int64) for n in names}

    for step in range(steps):
        sent = {network.input.name: stimulus[:, step]}
        for population in network.populations:
            name = population.name
            if isinstance(population, IntegerRelay):
                sent[name] = fx.relay_step(a[name], population.threshold.astype(np.int64))
            elif isinstance(population, IntegerLif):
                before = (u[name][:, step - 1], v[name][:, step - 1]) if step else rest[name]
                u[name][:, step], v[name][:, step], sent[name] = fx.lif_step(
                    *before,
                    a[name],
                    du=population.du,
                    dv=population.dv,
                    threshold=population.threshold,
                    bias=population.bias_mantissa.astype(np.int64) << population.bias_exponent,
                )
        a = {n: np.zeros((samples, sizes[n]), np.int64) for n in names}
        for projection in network.projections:
            spec = projection.spec
            a[spec.target][:, spec.target_start : spec.target_stop] += fx.synaptic_sum(
                projection.weights.astype(np.int64),
                sent[spec.source][:, spec.source_start : spec.source_stop],
                spec.exponent,
                graded=spec.graded,
            )
        a = {n: fx.wrap32(total) for n, total in a.items()}
        for name in names:
            spikes[name][:, step] = sent[name]
    return IntegerTrace(spikes=spikes, u=u, v=v)
