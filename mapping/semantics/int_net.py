"""The oracle: run a quantised network in plain NumPy, population by population."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.ir.network import Input
from mapping.ir.quantized import (
    IntegerGate,
    IntegerLif,
    IntegerProjection,
    IntegerRelay,
    QuantizedNetwork,
)
from mapping.semantics import fixedpoint as fx
from mapping.semantics.fixedpoint import Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerTrace:
    """Every step of every population but the input; arrays are ``(samples, steps, size)``.

    Attributes:
        spikes: payloads sent (0 or 1 for LIF).
        u, v: synaptic current and membrane voltage of LIF populations after the step.
        updated: whether a compartment's state was computed: a spike reached it, or it had state
            that lasts, bias or something to send.
        held_back: by gate population and number of gates needed, ``(samples, steps, inputs)``
            payloads that the host sent under that condition.
    """

    spikes: dict[str, Int64Array]
    u: dict[str, Int64Array]
    v: dict[str, Int64Array]
    updated: dict[str, npt.NDArray[np.bool_]]
    held_back: dict[tuple[str, int], Int64Array]


def run_integer_network(
    network: QuantizedNetwork, payloads: npt.NDArray[np.integer[Any]], *, price: float = 0.0
) -> IntegerTrace:
    """Run ``network`` from zero state.

    Args:
        network: what to run.
        payloads: ``(samples, steps, *input shape)`` integers; as many steps are run.
        price: of a level's cost, for the gates.
    """
    samples, steps = payloads.shape[:2]
    stimulus = payloads.reshape(samples, steps, -1).astype(np.int64)
    inner = [p for p in network.populations if not isinstance(p, Input)]
    lifs = [p.name for p in inner if isinstance(p, IntegerLif)]

    def zeros() -> dict[str, Int64Array]:
        return {p.name: np.zeros((samples, p.size), np.int64) for p in inner}

    spikes = {p.name: np.zeros((samples, steps, p.size), np.int64) for p in inner}
    updated = {p.name: np.zeros((samples, steps, p.size), np.bool_) for p in inner}
    u_trace, v_trace = ({n: np.zeros_like(spikes[n]) for n in lifs} for _ in range(2))
    conditions = {(p.spec.gate, p.spec.gates_needed) for p in network.projections if p.spec.gate}
    held_back = {condition: np.zeros_like(stimulus) for condition in conditions}
    so_far = np.zeros_like(stimulus[:, 0])
    told = {condition: np.zeros_like(so_far) for condition in conditions}
    u, v, z, counted, held, gain, trace, seen, on = (zeros() for _ in range(9))
    axons = [_Axons(projection, samples) for projection in network.projections]

    for step in range(steps):
        sent = {network.input.name: stimulus[:, step]}
        so_far = fx.wrap32(so_far * network.input.delta + stimulus[:, step])
        for gate, needed in conditions:
            is_open = on[gate][:, :needed].all(axis=1, keepdims=True)
            wanted = so_far * is_open
            held_back[gate, needed][:, step] = fx.wrap32(wanted - told[gate, needed])
            told[gate, needed] = wanted * network.input.delta
        arriving = {"signal": zeros(), "control": zeros()}
        reached = {p.name: np.zeros((samples, p.size), np.bool_) for p in inner}
        for axon in axons:
            spec, rows = axon.spec, slice(axon.spec.target_start, axon.spec.target_stop)
            brought, reach = axon.deliver()
            arriving[spec.port][spec.target][:, rows] += brought
            reached[spec.target][:, rows] |= reach
        for population in inner:
            name = population.name
            a, c = (fx.wrap32(arriving[port][name]) for port in ("signal", "control"))
            busy = reached[name]
            match population:
                case IntegerLif():
                    bias = population.bias_mantissa.astype(np.int64) << population.bias_exponent
                    lasting = (u[name] != 0) & (population.du + 1 < fx.DECAY_UNIT)
                    busy |= lasting | (v[name] != 0) | (bias != 0)
                    u[name], v[name], sent[name] = fx.lif_step(
                        u[name],
                        v[name],
                        a,
                        du=population.du,
                        dv=population.dv,
                        threshold=population.threshold,
                        bias=bias,
                    )
                    u_trace[name][:, step], v_trace[name][:, step] = u[name], v[name]
                case IntegerRelay():
                    busy |= population.bias != 0
                    z[name], counted[name], held[name], sent[name] = fx.relay_step(
                        z[name],
                        counted[name],
                        held[name],
                        a,
                        c,
                        threshold=population.threshold.astype(np.int64),
                        needed=population.needed.astype(np.int64),
                        bias=population.bias.astype(np.int64),
                        rectified=population.rectified,
                        sigma=population.sigma,
                        delta=population.delta,
                    )
                case IntegerGate():
                    busy |= (gain[name] != 0) | (trace[name] != 0)
                    before = on[name]
                    gain[name], trace[name], seen[name], on[name] = fx.gate_step(
                        gain[name],
                        trace[name],
                        seen[name],
                        before,
                        a,
                        c,
                        gain_decay=population.gain_decay,
                        trace_decay=population.trace_decay,
                        trace_threshold=population.trace_threshold,
                        threshold=population.thresholds(price).astype(np.int64),
                    )
                    sent[name] = on[name] - before
            spikes[name][:, step] = sent[name]
            updated[name][:, step] = busy | (sent[name] != 0)
        for axon in axons:
            spec = axon.spec
            sending = (
                held_back[spec.gate, spec.gates_needed][:, step] if spec.gate else sent[spec.source]
            )
            axon.send(sending[:, spec.source_start : spec.source_stop])
    return IntegerTrace(spikes=spikes, u=u_trace, v=v_trace, updated=updated, held_back=held_back)


class _Axons:
    """The spikes that one projection has still to deliver, the next ones first."""

    def __init__(self, projection: IntegerProjection, samples: int) -> None:
        spec = projection.spec
        weights = projection.weights
        dense = isinstance(weights, np.ndarray)
        self.spec, self.weights = spec, weights.astype(np.float64) if dense else weights
        ones = projection.synapses.with_values(np.ones_like(projection.mantissas))
        self.synapses = None if dense else ones.matrix().astype(np.int64)
        self.delays = np.array(spec.delays or (0,) * spec.columns)
        self.waiting = deque(
            [np.zeros((samples, spec.columns), np.int64) for _ in range(spec.longest_delay + 1)]
        )

    def deliver(self) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        """``(samples, rows)`` dendritic units that arrive in this step, and whether any spike does.

        A spike reaches every row of a dense projection.
        """
        arriving = self.waiting.popleft()
        self.waiting.append(np.zeros_like(arriving))
        spec = self.spec
        if self.synapses is None:
            reach = (arriving != 0).any(axis=1, keepdims=True).repeat(spec.rows, axis=1)
        else:
            reach = (arriving != 0).astype(np.int64) @ self.synapses.T > 0
        sums = fx.synaptic_sum(self.weights, arriving, spec.exponent, graded=spec.graded)
        return sums, np.asarray(reach)

    def send(self, payloads: Int64Array) -> None:
        """Put ``(samples, columns)`` payloads on their way."""
        for delay in np.unique(self.delays).tolist():
            late = self.delays == delay
            self.waiting[delay][:, late] = payloads[:, late]
