"""NIR graphs: random networks that NIR can express, and a plain loop over a graph's equations."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np
from hypothesis import strategies as st

from mapping.ir.network import Dense, Input, Lif, LowRank, Network, RankGate


def run_nir(
    graph: nir.NIRGraph,
    payloads: np.ndarray,
    *,
    dt_s: float,
    exact: bool = False,
    previous: bool = False,
) -> dict[str, np.ndarray]:
    """Spikes of every neuron node, ``(samples, steps, size)``, straight from NIR's equations.

    Args:
        graph: without sub-graphs; neurons may feed themselves.
        payloads: ``(samples, steps, inputs)``.
        dt_s: step [s].
        exact: exponential integration rather than forward Euler.
        previous: a CubaLIF voltage sees the current of the step before.
    """
    samples, steps, _ = payloads.shape
    state: dict[str, np.ndarray] = {}
    spikes = {
        key: np.zeros((samples, steps, node.v_threshold.size))
        for key, node in graph.nodes.items()
        if isinstance(node, nir.LIF | nir.CubaLIF)
    }

    def share(tau: np.ndarray) -> np.ndarray:
        return -np.expm1(-dt_s / tau) if exact else dt_s / tau

    def received(key: str, step: int) -> np.ndarray:
        return sum((sent(a, step, key) for a, b in graph.edges if b == key), start=np.zeros(1))

    def sent(key: str, step: int, reader: str) -> np.ndarray:
        match node := graph.nodes[key]:
            case nir.Input():
                return payloads[:, step]
            case nir.Linear():
                return received(key, step) @ node.weight.T
            case nir.Affine():
                return received(key, step) @ node.weight.T + node.bias
        if key in busy:
            return spikes[key][:, step - 1] if step else np.zeros_like(spikes[key][:, 0])
        if (key, step) not in done:
            busy.add(key)
            spikes[key][:, step] = fire(key, node, received(key, step))
            busy.remove(key)
            done.add((key, step))
        return spikes[key][:, step]

    def fire(key: str, node: nir.NIRNode, drive: np.ndarray) -> np.ndarray:
        v = state.get(key, np.broadcast_to(node.v_reset, (samples, node.v_reset.size)))
        if isinstance(node, nir.CubaLIF):
            a = share(node.tau_syn)
            old = state.get(f"{key} i", np.zeros_like(v))
            new = state[f"{key} i"] = (1 - a) * old + a * node.w_in * drive
            drive, tau = old if previous else new, node.tau_mem
        else:
            tau = node.tau
        v = (1 - share(tau)) * v + share(tau) * (node.v_leak + node.r * drive)
        fired = v > node.v_threshold
        state[key] = np.where(fired, node.v_reset, v)
        return fired.astype(float)

    busy: set[str] = set()
    done: set[tuple[str, int]] = set()
    for step in range(steps):
        for key in spikes:
            sent(key, step, "")
    return spikes


@st.composite
def expressible_networks(draw: st.DrawFn, *, biases: bool = True, static: bool = False) -> Network:
    """Chains of full and low-rank projections, some populations feeding themselves.

    Args:
        draw: Hypothesis' source of choices.
        biases: allow neuron and level biases.
        static: no relay thresholds and no gates, so that other tools compute the same.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    decays = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1 - 2**-12]) | st.floats(0, 0.999)
    names = draw(st.permutations(["a", "b/c", "ö →", "in"]))
    top = draw(st.integers(1, 20))
    source = Input(
        name=names[0],
        shape=draw(st.sampled_from([(sizes[0],), (1, sizes[0])])),
        payload_min=draw(st.sampled_from([0, -1, -top])),
        payload_max=top,
        payload_scale=draw(st.sampled_from([1.0, 1 / top]) | st.floats(1e-3, 1e3)),
    )
    populations: list[Input | Lif] = [source]
    projections: list[Dense | LowRank] = []
    for number, size in enumerate(sizes[1:]):
        lif = Lif(
            name=names[number + 1],
            shape=(size,),
            current_decay=draw(decays),
            voltage_decay=draw(decays.filter(bool) | st.just(1.0)),
            threshold=draw(st.floats(0.1, 10)),
            bias=rng.normal(0, 0.3, size) if biases and draw(st.booleans()) else np.zeros(size),
        )
        ends = {"source": populations[-1].name, "target": lif.name}
        shape = (size, sizes[number])
        gain = lif.threshold / (source.payload_scale if number == 0 else 1.0)
        if draw(st.booleans()):
            weight = rng.normal(0, gain, shape)
            projections.append(Dense(name=f"w{number}", weight=weight, **ends))
        else:
            options = {"from_input": number == 0, "biases": biases, "static": static}
            pair = _pair(draw, rng, f"w{number}", shape, ends, **options)
            projections.append(replace(pair, U=pair.U * gain))
        if draw(st.booleans()):
            weight = rng.normal(0, lif.threshold / 2, (size, size))
            projections.append(
                Dense(name=f"r{number}", source=lif.name, target=lif.name, weight=weight)
            )
        populations.append(lif)
    return Network(
        name=draw(st.sampled_from(["net", "[x] ü/é", "a.b"])),
        dt_s=draw(st.sampled_from([1e-4, 1e-3]) | st.floats(1e-6, 1.0)),
        populations=tuple(draw(st.permutations(populations))),
        projections=tuple(draw(st.permutations(projections))),
        output=populations[-1].name,
    )


def _pair(
    draw: st.DrawFn,
    rng: np.random.Generator,
    name: str,
    shape: tuple[int, int],
    ends: dict[str, str],
    *,
    from_input: bool,
    biases: bool,
    static: bool,
) -> LowRank:
    rank = draw(st.integers(1, 4))
    levels = (*sorted(draw(st.sets(st.integers(1, rank), max_size=2)) - {rank}), rank)
    steps, hidden = len(levels) - 1, draw(st.integers(0, 2))
    gated = steps > 0 and not static and draw(st.booleans())
    at_source = from_input and draw(st.booleans())
    coded = not static and (at_source or not gated) and draw(st.booleans())
    gate = RankGate(
        weight=rng.normal(0, 1, (steps, hidden or levels[0])),
        bias=rng.normal(0, 1, steps),
        cost=rng.uniform(0.1, 1, steps),
        decay=draw(st.sampled_from([0.0, 0.3, 1.0])),
        trace_decay=0.5,
        trace_threshold=draw(st.sampled_from([0.0, 0.7])),
        hidden_weight=rng.normal(0, 1, (hidden, levels[0])),
        hidden_bias=rng.normal(0, 1, hidden),
        at="source" if at_source else "relay",
    )
    return LowRank(
        name=name,
        U=rng.normal(0, 1, (shape[0], rank)),
        V=rng.normal(0, 1, (shape[1], rank)),
        levels=levels,
        relay_threshold=np.zeros(rank) if static else rng.uniform(0, 0.1, rank),
        sigma=coded,
        delta=coded,
        level_bias=rng.normal(0, 1, (steps if biases and not coded else 0, shape[0])),
        gate=gate if gated else None,
        **ends,
    )
