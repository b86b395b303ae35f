"""Turn a compiled program into a network of Lava Processes, core by core.

Every group of compartments on a core becomes an ``LIF``, ``Relay`` or ``Gate`` Process and every
synapse tile a ``Dense`` Process with its complete fan-in. This module needs Lava at import time;
see :mod:`simulators.lava.run` for the way in.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF
from lava.utils.weightutils import SignMode

from mapping.artifact.schema import Artifact
from mapping.ir.partitioned import CompartmentGroup, CoreProgram
from mapping.ir.quantized import IntegerGate, IntegerLif, IntegerRelay, ProjectionSpec
from mapping.ir.synapses import full
from simulators.lava.processes import Gate, Relay, Scatter, Valve
from simulators.trace import IntArray

_PAYLOAD_BITS = 24
_STATES: dict[type, tuple[str, ...]] = {
    LIF: ("u", "v"),
    Relay: ("z", "gates_on", "held"),
    Gate: ("gain", "trace", "seen", "on"),
    Dense: ("a_buff",),
    Valve: ("on", "total", "told"),
}
"""Vars of each Process that hold something from one step to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Compartments ``start:stop`` of a population as one Process with the port ``s_out``."""

    group: CompartmentGroup
    process: Any


@dataclass(slots=True, kw_only=True)
class LavaNetwork:
    """The Processes of one program.

    Attributes:
        source: plays the input; run and stop the network through it.
        segments: compartments by population, in order.
        synapses: all ``Dense`` Processes.
        valves: what holds input back, by source slice and condition.
    """

    source: Any
    segments: dict[str, list[Segment]] = field(default_factory=lambda: defaultdict(list))
    synapses: list[Any] = field(default_factory=list)
    valves: dict[tuple[str, int, int, str, int], Any] = field(default_factory=dict)

    def states(self) -> list[Any]:
        """Every Var that must be zero when a sample starts."""
        processes = [s.process for part in self.segments.values() for s in part]
        return [
            getattr(process, name)
            for process in (*processes, *self.synapses, *self.valves.values())
            for name in _STATES.get(type(process), ())
        ]


def build_network(artifact: Artifact, payloads: IntArray, *, price: float) -> LavaNetwork:
    """Wire up ``artifact``.

    Args:
        artifact: the compiled program.
        payloads: ``(inputs, steps)`` integers that the source sends, step by step.
        price: of a level's cost, for the gates.
    """
    source = RingBuffer(data=payloads)
    network = LavaNetwork(source=source)
    own = artifact.partitioned.input
    whole = CompartmentGroup(population=own.name, start=0, stop=own.size)
    network.segments[own.name].append(Segment(group=whole, process=source))
    for program in artifact.partitioned.cores:
        for group in program.groups:
            for piece in _cut(artifact, program, group):
                segment = Segment(group=piece, process=_compartments(artifact, piece, price))
                network.segments[piece.population].append(segment)
    for part in network.segments.values():
        part.sort(key=lambda segment: segment.group.start)
    gathered: dict[tuple[str, int, int, str, int], list[Any]] = {}
    for program in artifact.partitioned.cores:
        for tile in program.tiles:
            spec = artifact.partitioned.projections[tile.projection]
            key = (spec.source, spec.source_start, spec.source_stop, spec.gate, spec.gates_needed)
            if key not in gathered:
                ports = _gather(network.segments[spec.source], *key[1:3])
                if spec.gate:
                    network.valves[key] = _valve(network, spec, ports, delta=own.delta)
                    ports = [network.valves[key].s_out]
                gathered[key] = ports
            weights = full(tile.synapses).astype(np.int32) << spec.weight_shift
            for segment in network.segments[spec.target]:
                if tile.target_start <= segment.group.start < tile.target_stop:
                    rows = slice(
                        segment.group.start - tile.target_start,
                        segment.group.stop - tile.target_start,
                    )
                    dense = _dense(weights[rows], spec)
                    for port in gathered[key]:
                        port.connect(dense.s_in)
                    process = segment.process
                    dense.a_out.connect(
                        process.a_in if spec.port == "signal" else process.control_in
                    )
                    network.synapses.append(dense)
    return network


def _cut(
    artifact: Artifact, program: CoreProgram, group: CompartmentGroup
) -> list[CompartmentGroup]:
    """Pieces of ``group`` that every tile of the core covers whole or not at all."""
    bounds = {group.start, group.stop}
    for tile in program.tiles:
        if artifact.partitioned.projections[tile.projection].target == group.population:
            bounds |= {
                b for b in (tile.target_start, tile.target_stop) if group.start < b < group.stop
            }
    cuts = sorted(bounds)
    return [
        CompartmentGroup(population=group.population, start=start, stop=stop)
        for start, stop in itertools.pairwise(cuts)
    ]


def _valve(network: LavaNetwork, spec: ProjectionSpec, ports: list[Any], *, delta: bool) -> Any:
    gates = network.segments[spec.gate]
    size = gates[-1].group.stop
    valve = Valve(size=spec.columns, gates=size, needed=spec.gates_needed, delta=delta)
    for port in ports:
        port.connect(valve.s_in)
    for port in _gather(gates, 0, size):
        port.connect(valve.control_in)
    return valve


def _compartments(artifact: Artifact, group: CompartmentGroup, price: float) -> Any:
    population = artifact.partitioned.population(group.population)
    part = slice(group.start, group.stop)
    if isinstance(population, IntegerLif):
        return LIF(
            shape=(group.size,),
            du=population.du,
            dv=population.dv,
            vth=population.threshold,
            bias_mant=population.bias_mantissa[part],
            bias_exp=population.bias_exponent,
        )
    if isinstance(population, IntegerGate):
        return Gate(
            threshold=population.thresholds(price)[part],
            gain_decay=population.gain_decay,
            trace_decay=population.trace_decay,
            trace_threshold=population.trace_threshold,
        )
    assert isinstance(population, IntegerRelay)
    return Relay(
        threshold=np.array(population.threshold[part]),
        needed=np.array(population.needed[part]),
        bias=np.array(population.bias[part]),
        rectified=population.rectified,
        sigma=population.sigma,
        delta=population.delta,
    )


def _dense(weights: IntArray, spec: ProjectionSpec) -> Any:
    return Dense(
        weights=weights,
        weight_exp=spec.exponent,
        num_weight_bits=spec.weight_bits,
        sign_mode=SignMode.MIXED,
        num_message_bits=_PAYLOAD_BITS if spec.graded else 0,
    )


def _gather(segments: list[Segment], start: int, stop: int) -> list[Any]:
    """Ports that together deliver compartments ``start:stop`` as one vector."""
    ports = []
    for segment in segments:
        group = segment.group
        first, last = max(start, group.start), min(stop, group.stop)
        if (group.start, group.stop) == (start, stop):
            ports.append(segment.process.s_out)
        elif first < last:
            scatter = Scatter(
                size=group.size,
                first=first - group.start,
                width=stop - start,
                offset=first - start,
                count=last - first,
            )
            segment.process.s_out.connect(scatter.s_in)
            ports.append(scatter.s_out)
    return ports
