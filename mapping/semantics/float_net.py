"""Run a float network in plain NumPy, with the conventions of :mod:`mapping.ir.network`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, Gate, Input, Li, Lif, LowRank, Network, Relay
from mapping.passes.realise_factors import realise_factors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatTrace:
    """Every step of a float network; arrays are ``(samples, steps, size)``.

    Attributes:
        sent: what each population but the input sends; of an :class:`Li`, its voltage.
        v: membrane voltage of :class:`Lif` and :class:`Li` populations after the step.
    """

    sent: dict[str, FloatArray]
    v: dict[str, FloatArray]


def run_float_network(
    network: Network, payloads: npt.NDArray[np.integer[Any]], *, price: float = 0.0
) -> dict[str, FloatArray]:
    """What the populations of ``network`` send; see :func:`trace_float_network`."""
    return trace_float_network(network, payloads, price=price).sent


def trace_float_network(
    network: Network, payloads: npt.NDArray[np.integer[Any]], *, price: float = 0.0
) -> FloatTrace:
    """Run ``network`` from zero state.

    Args:
        network: what to run; factor pairs run with their relays and gates, under the names that
            :func:`mapping.passes.realise_factors.realise_factors` gives them.
        payloads: ``(samples, steps, *input shape)`` integers; as many steps are run.
        price: of a level's cost, see :class:`mapping.ir.network.Gate`.
    """
    network = realise_factors(network)
    samples, steps = payloads.shape[:2]
    stimulus = payloads.reshape(samples, steps, -1) * network.input.payload_scale
    inner = [p for p in network.populations if not isinstance(p, Input)]
    gates = [p.name for p in inner if isinstance(p, Gate)]

    def zeros() -> dict[str, FloatArray]:
        return {p.name: np.zeros((samples, p.size)) for p in inner}

    sent = {p.name: np.zeros((samples, steps, p.size)) for p in inner}
    neurons = [p.name for p in inner if isinstance(p, Lif | Li)]
    voltages = {name: np.zeros_like(sent[name]) for name in neurons}
    u, v, z, held, counted, gain, trace, seen, on = (zeros() for _ in range(9))
    reported = {name: on[name] for name in gates}
    arriving_at: list[dict[str, dict[str, FloatArray]]] = [
        {"signal": zeros(), "control": zeros()} for _ in range(1 + _longest(network))
    ]
    so_far = np.zeros((samples, network.input.size))
    told: dict[str, FloatArray] = {}

    for step in range(steps):
        now = {network.input.name: stimulus[:, step]}
        so_far = so_far * network.input.delta + stimulus[:, step]
        for population in inner:
            name = population.name
            a, c = arriving_at[0]["signal"][name], arriving_at[0]["control"][name]
            match population:
                case Lif():
                    u[name] = population.current_decay * u[name] + a
                    v[name] = population.voltage_decay * v[name] + u[name] + population.bias
                    now[name] = (v[name] > population.threshold).astype(np.float64)
                    v[name] = np.where(now[name] > 0, 0.0, v[name])
                case Li():
                    u[name] = population.current_decay * u[name] + a
                    v[name] = population.voltage_decay * v[name] + u[name] + population.bias
                    now[name] = v[name]
                case Relay():
                    z[name] = z[name] * population.sigma + a + population.bias
                    counted[name] = counted[name] + c
                    x = np.maximum(z[name], 0.0) if population.rectified else z[name]
                    needed = np.repeat(population.gates_needed, np.diff(population.block_bounds))
                    x = np.where(counted[name] >= needed, x, 0.0) - held[name]
                    now[name] = np.where(np.abs(x) > population.threshold, x, 0.0)
                    held[name] = held[name] + now[name] * population.delta
                case Gate():
                    gain[name] = population.decay * gain[name] + a
                    trace[name] = population.trace_decay * trace[name] + c
                    moved = np.abs(trace[name] - seen[name]) > population.trace_threshold
                    moved |= population.trace_threshold == 0
                    seen[name] = np.where(moved, trace[name], seen[name])
                    wanted = gain[name] + population.bias > price * population.cost
                    now[name] = np.where(moved, wanted, on[name]) - on[name]
                    on[name] = on[name] + now[name]
            sent[name][:, step] = now[name]
            if name in voltages:
                voltages[name][:, step] = v[name]
        arriving_at = [*arriving_at[1:], {"signal": zeros(), "control": zeros()}]
        for projection in network.projections:
            assert not isinstance(projection, LowRank), "factor pairs are spelt out"
            weight = projection.synapses.matrix()
            columns = projection.columns(network.population(projection.source))
            if projection.gate:
                target = network.population(projection.target)
                assert isinstance(target, Relay)
                needed = np.repeat(projection.gates_needed, np.diff(target.block_bounds))
                first_on = np.cumprod(reported[projection.gate], axis=1).sum(axis=1)
                telling = so_far[:, columns] @ weight.T
                telling = np.where(first_on[:, None] >= needed, telling, 0.0)
                arriving_at[0][projection.port][projection.target] += telling - told.get(
                    projection.name, 0.0
                )
                told[projection.name] = telling * network.input.delta
                continue
            sending = now[projection.source][:, columns]
            delays = projection.delays if projection.delays.size else np.zeros(sending.shape[1])
            for delay in np.unique(delays).astype(int).tolist():
                late = np.where(delays == delay, sending, 0.0)
                arriving_at[delay][projection.port][projection.target] += late @ weight.T
        reported = {name: on[name] for name in gates}
    return FloatTrace(sent=sent, v=voltages)


def _longest(network: Network) -> int:
    """The longest axonal delay."""
    return max((p.delay - 1 for p in network.projections), default=0)
