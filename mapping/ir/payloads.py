"""What every population of an integer network can send and receive at worst."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from mapping.ir.quantized import (
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    QuantizedNetwork,
)
from mapping.ir.ranges import PayloadRange, Reach, Received
from mapping.ir.synapses import Synapses

_UNBOUNDED = 2.0**62

Part = tuple[Synapses, int, Reach]
"""Weights on Lava's grid, exponent and what the source sends."""


def payload_ranges(network: QuantizedNetwork) -> dict[str, Reach]:
    """Worst-case payloads of every population."""
    ranges: dict[str, Reach] = {network.input.name: Reach.of_input(network.input)}
    relays = [p for p in network.populations if isinstance(p, IntegerRelay)]
    for population in network.populations:
        if isinstance(population, IntegerLif):
            ranges[population.name] = Reach.of_lif(population.size)
        elif isinstance(population, IntegerGate):
            ranges[population.name] = Reach.of_gate(population.size)
    sources: dict[str, set[str]] = {relay.name: set() for relay in relays}
    for projection in network.projections:
        if projection.spec.target in sources:
            sources[projection.spec.target].add(projection.spec.source)
    while relays:
        ready = [relay for relay in relays if sources[relay.name] <= ranges.keys()]
        for relay in ready:
            ranges[relay.name] = _relayed(network, ranges, relay) or _endless(relay.size)
        if not ready:
            ranges |= {relay.name: _endless(relay.size) for relay in relays}
            break
        relays = [r for r in relays if r not in ready]
    return ranges


def received(
    network: QuantizedNetwork, ranges: dict[str, Reach], population: IntegerPopulation
) -> Iterator[tuple[int, list[Part]]]:
    """Number of rows, and what they get by signal projections, for runs of rows that get the same.

    Args:
        network: the network.
        ranges: of all its populations.
        population: the target; its runs come in order and cover it.
    """
    into = [
        p
        for p in network.projections
        if p.spec.target == population.name and p.spec.port == "signal"
    ]
    ends = {end for p in into for end in (p.spec.target_start, p.spec.target_stop)}
    for start, stop in pairwise(sorted({0, population.size, *ends})):
        rows = np.arange(start, stop)
        yield (
            stop - start,
            [
                (
                    weights_of(p).rows(rows - p.spec.target_start),
                    p.spec.exponent,
                    sent_to(ranges, p),
                )
                for p in into
                if p.spec.target_start <= start and stop <= p.spec.target_stop
            ],
        )


def weights_of(projection: IntegerProjection) -> Synapses:
    """The weights of a projection on Lava's grid."""
    synapses = projection.synapses
    return synapses.with_values(synapses.values * 2.0**projection.spec.weight_shift)


def sent_to(ranges: dict[str, Reach], projection: IntegerProjection) -> Reach:
    """What the source compartments of a projection can send."""
    spec = projection.spec
    return ranges[spec.source].part(spec.source_start, spec.source_stop)


def _endless(size: int) -> Reach:
    everything = PayloadRange.constant(-_UNBOUNDED, _UNBOUNDED, size)
    return Reach(packet=everything, signal=everything)


def _relayed(
    network: QuantizedNetwork, ranges: dict[str, Reach], relay: IntegerRelay
) -> Reach | None:
    runs = list(received(network, ranges, relay))
    found = [Received.of(parts, rows) for rows, parts in runs]
    reaches = [reach for _, parts in runs for _, _, reach in parts]
    whole = Received(
        packet=PayloadRange.joined([run.packet for run in found]),
        signal=PayloadRange.joined([run.signal for run in found]),
        delta=bool(reaches) and all(reach.delta for reach in reaches),
    )
    return Reach.of_relay(
        whole,
        relay.bias,
        relay.threshold,
        sigma=relay.sigma,
        rectified=relay.rectified,
        delta=relay.delta,
        gated=any(relay.gates_needed),
    )
