"""Turn a compiled program into a network of Lava Processes, core by core.

Every group of compartments on a core becomes an ``LIF``, ``Relay`` or ``Gate`` Process and every
synapse tile a ``Dense`` or ``Sparse`` Process with its complete fan-in. Axonal delays lie before
the synapses: the sum over all that arrives in a step is shifted as a whole. This module needs Lava
at import time; see :mod:`simulators.lava.run` for the way in.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

from mapping.artifact.schema import Artifact
from mapping.ir.partitioned import CompartmentGroup
from mapping.ir.quantized import IntegerGate, IntegerLif, IntegerRelay, ProjectionSpec
from mapping.ir.synapses import Synapses
from simulators.lava.processes import DelayLine, Gate, Relay, Scatter, Valve

_PAYLOAD_BITS = 24
_STATES: dict[type, tuple[str, ...]] = {
    LIF: ("u", "v"),
    Relay: ("z", "gates_on", "held"),
    Gate: ("gain", "trace", "seen", "on"),
    Dense: ("a_buff",),
    Sparse: ("a_buff",),
    Valve: ("on", "total", "told"),
    DelayLine: ("age",),
}
"""Vars of each Process that hold something from one step to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Compartments of a population as one Process with the port ``s_out``."""

    group: CompartmentGroup
    process: Any


@dataclass(slots=True, kw_only=True)
class LavaNetwork:
    """The Processes of one program.

    Attributes:
        source: plays the input.
        segments: compartments by population, in order.
        synapses: all ``Dense`` and ``Sparse`` Processes.
        wiring: what lies between compartments and synapses and has a state.
    """

    source: Any
    segments: dict[str, list[Segment]] = field(default_factory=lambda: defaultdict(list))
    synapses: list[Any] = field(default_factory=list)
    wiring: list[Any] = field(default_factory=list)

    def states(self) -> list[Any]:
        """Every Var that must be zero when a sample starts."""
        processes = [s.process for part in self.segments.values() for s in part]
        return [
            getattr(process, name)
            for process in (*processes, *self.synapses, *self.wiring)
            for name in _STATES.get(type(process), ())
        ]


def build_network(artifact: Artifact, source: Any, *, price: float) -> LavaNetwork:
    """Wire up ``artifact``.

    Args:
        artifact: the compiled program.
        source: Process whose port ``s_out`` sends the input.
        price: of a level's cost, for the gates.
    """
    network = LavaNetwork(source=source)
    own = artifact.partitioned.input
    whole = CompartmentGroup(population=own.name, ranges=((0, own.size),))
    network.segments[own.name].append(Segment(group=whole, process=source))
    for core in range(len(artifact.partitioned.cores)):
        for piece in artifact.partitioned.pieces(core):
            segment = Segment(group=piece, process=_compartments(artifact, piece, price))
            network.segments[piece.population].append(segment)
    for part in network.segments.values():
        part.sort(key=lambda segment: segment.group.ranges)
    axons: dict[_Axons, list[Any]] = {}
    for program in artifact.partitioned.cores:
        for tile in program.tiles:
            spec = artifact.partitioned.projections[tile.projection]
            key = _Axons.of(spec)
            if key not in axons:
                axons[key] = _lay(network, key, delta=own.delta)
            targets = program.targets(spec)
            for segment in network.segments[spec.target]:
                rows = np.flatnonzero(np.isin(targets, segment.group.members))
                if rows.size:
                    synapses = _synapses(tile.synapses.rows(rows), spec)
                    for port in axons[key]:
                        port.connect(synapses.s_in)
                    process = segment.process
                    synapses.a_out.connect(
                        process.a_in if spec.port == "signal" else process.control_in
                    )
                    network.synapses.append(synapses)
    return network


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axons:
    """What the tiles of several projections may share: which spikes reach them, and when."""

    source: str
    start: int
    stop: int
    gate: str
    gates_needed: int
    delays: tuple[int, ...]

    @classmethod
    def of(cls, spec: ProjectionSpec) -> _Axons:
        return cls(
            source=spec.source,
            start=spec.source_start,
            stop=spec.source_stop,
            gate=spec.gate,
            gates_needed=spec.gates_needed,
            delays=spec.delays,
        )


def _lay(network: LavaNetwork, axons: _Axons, *, delta: bool) -> list[Any]:
    """Ports that together deliver the spikes of ``axons`` as one vector."""
    ports = gather(network.segments[axons.source], axons.start, axons.stop)
    if axons.gate:
        gates = network.segments[axons.gate]
        reporting = sum(segment.group.size for segment in gates)
        valve = Valve(
            size=axons.stop - axons.start,
            gates=reporting,
            needed=axons.gates_needed,
            delta=delta,
        )
        for port in gather(gates, 0, reporting):
            port.connect(valve.control_in)
        ports = _through(network, valve, ports)
    if any(axons.delays):
        ports = _through(network, DelayLine(delays=np.array(axons.delays)), ports)
    return ports


def _through(network: LavaNetwork, wiring: Any, ports: list[Any]) -> list[Any]:
    for port in ports:
        port.connect(wiring.s_in)
    network.wiring.append(wiring)
    return [wiring.s_out]


def _compartments(artifact: Artifact, group: CompartmentGroup, price: float) -> Any:
    population = artifact.partitioned.population(group.population)
    part = group.members
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


def _synapses(synapses: Synapses, spec: ProjectionSpec) -> Any:
    weights = synapses.matrix().astype(np.int32) * (1 << spec.weight_shift)
    stored = Dense if isinstance(weights, np.ndarray) else Sparse
    return stored(
        # Lava tells sparse weights by SciPy's older class of sparse matrices.
        weights=weights if isinstance(weights, np.ndarray) else csr_matrix(weights),
        weight_exp=spec.exponent,
        num_weight_bits=spec.weight_bits,
        sign_mode=SignMode.MIXED,
        num_message_bits=_PAYLOAD_BITS if spec.graded else 0,
    )


def gather(segments: list[Segment], start: int, stop: int) -> list[Any]:
    """Ports that together deliver compartments ``start:stop`` as one vector."""
    ports = []
    for segment in segments:
        group, members = segment.group, segment.group.members
        passed = np.flatnonzero((members >= start) & (members < stop))
        if group.ranges == ((start, stop),):
            ports.append(segment.process.s_out)
        elif passed.size:
            scatter = Scatter(
                size=group.size, passed=passed, width=stop - start, places=members[passed] - start
            )
            segment.process.s_out.connect(scatter.s_in)
            ports.append(scatter.s_out)
    return ports
