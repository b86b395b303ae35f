"""NIR graphs: random networks that NIR can express, and a plain loop over a graph's equations."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional

from mapping.ir.network import Dense, Input, Lif, LowRank, Network, RankGate

NEURONS = (nir.IF, nir.LIF, nir.CubaLIF)
INTEGRATORS = (nir.I, nir.LI, nir.CubaLI)


def run_nir(
    graph: nir.NIRGraph,
    payloads: np.ndarray,
    *,
    dt_s: float,
    exact: bool = False,
    previous: bool = False,
) -> dict[str, np.ndarray]:
    """Spikes of every neuron node and voltages of every integrator, straight from NIR's equations.

    An edge that leads back to a node on the way from the input carries what was sent a step before.

    Args:
        graph: without sub-graphs.
        payloads: ``(samples, steps, *inputs)``.
        dt_s: step [s].
        exact: exponential integration rather than forward Euler.
        previous: a CubaLIF voltage sees the current of the step before.

    Returns:
        ``(samples, steps, size)`` by node.
    """
    samples, steps = payloads.shape[:2]
    order, back = _in_order(graph)
    state: dict[str, np.ndarray] = {}
    sent: dict[str, list[np.ndarray]] = {key: [] for key in graph.nodes}

    def share(tau: np.ndarray) -> np.ndarray:
        return (-np.expm1(-dt_s / tau) if exact else dt_s / tau).reshape(-1)

    def fire(key: str, node: nir.NIRNode, drive: np.ndarray) -> np.ndarray:
        reset = np.zeros(1) if isinstance(node, INTEGRATORS) else node.v_reset.reshape(-1)
        v = state.get(key, np.broadcast_to(reset, drive.shape))
        r = node.r.reshape(-1)
        if isinstance(node, nir.IF | nir.I):
            v = v + r * drive
        else:
            tau = node.tau_mem if isinstance(node, nir.CubaLIF | nir.CubaLI) else node.tau
            if isinstance(node, nir.CubaLIF | nir.CubaLI):
                a, old = share(node.tau_syn), state.get(f"{key} i", np.zeros_like(drive))
                new = state[f"{key} i"] = (1 - a) * old + a * node.w_in.reshape(-1) * drive
                drive = old if previous else new
            v = (1 - share(tau)) * v + share(tau) * (node.v_leak.reshape(-1) + r * drive)
        if isinstance(node, INTEGRATORS):
            state[key] = v
            return v
        fired = v > node.v_threshold.reshape(-1)
        state[key] = np.where(fired, reset, v)
        return fired.astype(float)

    def received(key: str, step: int) -> np.ndarray:
        total: np.ndarray | None = None
        for source, target in graph.edges:
            if target != key:
                continue
            late = (source, target) in back
            value = sent[source][step - late] if step >= late else None
            if value is not None:
                total = value if total is None else total + value.reshape(total.shape)
        return np.zeros((samples, 1)) if total is None else total

    for step in range(steps):
        for key in order:
            node = graph.nodes[key]
            if isinstance(node, nir.Input):
                value = payloads[:, step].reshape(samples, *np.ravel(node.input_type["input"]))
            elif isinstance(node, NEURONS + INTEGRATORS):
                drive = received(key, step)
                shape = node.r.shape if node.r.size > 1 else drive.shape[1:]
                drive = np.broadcast_to(drive.reshape(samples, -1), (samples, int(np.prod(shape))))
                value = fire(key, node, drive).reshape(samples, *shape)
            elif isinstance(node, nir.Delay):
                waiting = state.setdefault(f"{key} {step}", received(key, step))
                late = np.rint(node.delay / dt_s).astype(int).reshape(-1)
                flat = np.zeros((samples, waiting[0].size))
                for column, delay in enumerate(np.broadcast_to(late, flat.shape[1:])):
                    if step >= delay:
                        before = state[f"{key} {step - delay}"].reshape(samples, -1)
                        flat[:, column] = before[:, column]
                value = flat.reshape(waiting.shape)
            else:
                value = _stateless(node, received(key, step))
            sent[key].append(value)
    return {
        key: np.stack(values, axis=1).reshape(samples, steps, -1)
        for key, values in sent.items()
        if isinstance(graph.nodes[key], NEURONS + INTEGRATORS)
    }


def _stateless(node: nir.NIRNode, x: np.ndarray) -> np.ndarray:
    """What a node without state makes of ``x``, by torch where that has it."""
    image = torch.tensor(x, dtype=torch.float64)
    match node:
        case nir.Linear():
            return x.reshape(len(x), -1) @ node.weight.T
        case nir.Affine():
            return x.reshape(len(x), -1) @ node.weight.T + node.bias
        case nir.Scale():
            return x * node.scale.reshape(x.shape[1:])
        case nir.Conv1d() | nir.Conv2d():
            if node.input_shape is not None:
                image = image.reshape(len(x), -1, *np.ravel(node.input_shape))
            convolve = functional.conv1d if isinstance(node, nir.Conv1d) else functional.conv2d
            whole = [
                value if isinstance(value, str) else np.ravel(value).tolist()
                for value in (node.stride, node.padding, node.dilation)
            ]
            weight, bias = torch.tensor(node.weight).double(), torch.tensor(node.bias).double()
            return convolve(image, weight, bias, *whole, groups=int(node.groups)).numpy()
        case nir.SumPool2d() | nir.AvgPool2d():
            kernel, stride, padding = (
                np.broadcast_to(np.ravel(value), (2,)).astype(int).tolist()
                for value in (node.kernel_size, node.stride, node.padding)
            )
            ones = torch.ones((image.shape[1], 1, *kernel), dtype=torch.float64)
            summed = functional.conv2d(
                image, ones, None, stride, padding, groups=image.shape[1]
            ).numpy()
            return summed / np.prod(kernel) if isinstance(node, nir.AvgPool2d) else summed
        case _:
            return x


def _in_order(graph: nir.NIRGraph) -> tuple[list[str], set[tuple[str, str]]]:
    """Nodes behind what feeds them, and the edges that lead back, found depth first."""
    back: set[tuple[str, str]] = set()
    done: list[str] = []
    starts = [key for key, node in graph.nodes.items() if isinstance(node, nir.Input)]

    def visit(key: str, way: tuple[str, ...]) -> None:
        for source, target in graph.edges:
            if source == key and target in (*way, key):
                back.add((source, target))
            elif source == key and target not in done:
                visit(target, (*way, key))
        if key not in done:
            done.append(key)

    for key in (*starts, *graph.nodes):
        if key not in done:
            visit(key, ())
    return done[::-1], back


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
