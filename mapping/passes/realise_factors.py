"""Turn every factor pair into what the chip runs: V, relay compartments, U, and its gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapping.ir.network import (
    Dense,
    Gate,
    LowRank,
    Network,
    Population,
    Projection,
    RankGate,
    Relay,
)


def realise_factors(network: Network) -> Network:
    """``network`` with a :class:`Relay` between two :class:`Dense` in place of every factor pair.

    A gate becomes a population of threshold compartments with its projections. Timing is
    unchanged: a factor pair takes two steps by definition.
    """
    populations: list[Population] = list(network.populations)
    projections: list[Projection] = []
    for projection in network.projections:
        if not isinstance(projection, LowRank):
            projections.append(projection)
            continue
        relays, synapses = _factored(projection)
        if projection.gate is not None:
            gates, control = _gated(projection, projection.gate, [relay.name for relay in relays])
            relays += gates
            synapses += control
        place = populations.index(network.population(projection.target))
        populations[place:place] = relays
        projections += synapses
    return replace(network, populations=tuple(populations), projections=tuple(projections))


def _factored(pair: LowRank) -> tuple[list[Population], list[Projection]]:
    """The relays of ``pair`` and of its level biases, and what leads to and from them."""
    at_source = pair.gate is not None and pair.gate.at == "source"
    needed = tuple(range(len(pair.levels))) if pair.gate is not None else ()
    relay = Relay(
        name=f"{pair.name}/relay",
        threshold=pair.relay_threshold,
        block_bounds=(0, *pair.levels),
        gates_needed=() if at_source else needed,
        sigma=pair.sigma,
        delta=pair.delta,
    )
    populations: list[Population] = [relay]
    projections: list[Projection] = [
        Dense(
            name=f"{pair.name}/V",
            layer=pair.name,
            part="V",
            source=pair.source,
            target=relay.name,
            weight=pair.V.T,
            gate=_gate_name(pair) if at_source else "",
            gates_needed=needed if at_source else (),
        ),
        Dense(
            name=f"{pair.name}/U",
            layer=pair.name,
            part="U",
            source=relay.name,
            target=pair.target,
            weight=pair.U,
        ),
    ]
    if pair.level_bias.size:
        steps = len(pair.level_bias)
        bias = Relay(
            name=f"{pair.name}/level-bias",
            threshold=np.zeros(steps),
            block_bounds=tuple(range(steps + 1)),
            gates_needed=needed[1:],
            bias=np.ones(steps),
            delta=pair.delta,
        )
        populations.append(bias)
        projections.append(
            Dense(
                name=f"{pair.name}/B",
                layer=pair.name,
                part="bias",
                source=bias.name,
                target=pair.target,
                weight=pair.level_bias.T,
            )
        )
    return populations, projections


def _gate_name(pair: LowRank) -> str:
    return f"{pair.name}/gate"


def _gated(
    pair: LowRank, gate: RankGate, relays: list[str]
) -> tuple[list[Population], list[Projection]]:
    """Gate, scorer and trace of ``pair``, and their projections; ``relays`` listen to the gate."""
    steps = len(pair.levels) - 1
    own = Gate(
        name=_gate_name(pair),
        bias=gate.bias,
        cost=gate.cost,
        decay=gate.decay,
        trace_decay=gate.trace_decay,
        trace_threshold=gate.trace_threshold,
    )
    features = Dense(
        name=f"{pair.name}/features",
        layer=pair.name,
        part="gate",
        source=relays[0],
        source_stop=pair.levels[0],
        target=own.name,
        weight=gate.weight if not gate.hidden else gate.hidden_weight,
    )
    populations: list[Population] = []
    projections: list[Projection] = [features]
    if gate.hidden:
        scorer = Relay(
            name=f"{pair.name}/scorer",
            threshold=np.zeros(gate.hidden),
            block_bounds=(0, gate.hidden),
            bias=gate.hidden_bias,
            rectified=True,
        )
        populations.append(scorer)
        projections = [
            replace(features, target=scorer.name),
            Dense(
                name=f"{pair.name}/gains",
                layer=pair.name,
                part="gate",
                source=scorer.name,
                target=own.name,
                weight=gate.weight,
            ),
        ]
    if gate.trace_threshold > 0:
        trace = Relay(name=f"{pair.name}/trace", threshold=np.zeros(1), block_bounds=(0, 1))
        populations.append(trace)
        projections += [
            Dense(
                name=f"{pair.name}/sum",
                layer=pair.name,
                part="gate",
                source=pair.source,
                target=trace.name,
                weight=np.ones((1, pair.V.shape[0])),
            ),
            Dense(
                name=f"{pair.name}/trigger",
                layer=pair.name,
                part="gate",
                source=trace.name,
                target=own.name,
                port="control",
                weight=np.ones((steps, 1)),
            ),
        ]
    populations.append(own)
    closed = {relays[0]: np.repeat(range(steps + 1), np.diff((0, *pair.levels)))}
    closed |= {name: np.arange(1, steps + 1) for name in relays[1:]}
    if gate.at == "source":
        del closed[relays[0]]
    projections += [
        Dense(
            name=f"{own.name} → {name}",
            layer=pair.name,
            part="gate",
            source=own.name,
            target=name,
            port="control",
            weight=(np.arange(steps) < needed[:, None]).astype(np.float64),
        )
        for name, needed in closed.items()
    ]
    return populations, projections
