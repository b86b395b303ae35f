"""Turn a compiled program into a network of Lava Processes, core by core.

Every group of compartments on a core becomes an ``LIF`` or a ``Relay`` Process and every synapse
tile a ``Dense`` Process with its complete fan-in. This module needs Lava at import time; see
:mod:`simulators.lava.run` for the way in.
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
from mapping.ir.quantized import IntegerLif, IntegerRelay, ProjectionSpec
from simulators.lava.processes import Relay, Scatter
from simulators.trace import IntArray

_PAYLOAD_BITS = 24


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
    """

    source: Any
    segments: dict[str, list[Segment]] = field(default_factory=lambda: defaultdict(list))
    synapses: list[Any] = field(default_factory=list)

    def states(self) -> list[Any]:
        """Every Var that must be zero when a sample starts."""
        lifs = [s.process for part in self.segments.values() for s in part if _is_lif(s.process)]
        return [
            *(var for lif in lifs for var in (lif.u, lif.v)),
            *(dense.a_buff for dense in self.synapses),
        ]


def build_network(artifact: Artifact, payloads: IntArray) -> LavaNetwork:
    """Wire up ``artifact``.

    Args:
        artifact: the compiled program.
        payloads: ``(inputs, steps)`` integers that the source sends, step by step.
    """
    source = RingBuffer(data=payloads)
    network = LavaNetwork(source=source)
    own = artifact.partitioned.input
    whole = CompartmentGroup(population=own.name, start=0, stop=own.size)
    network.segments[own.name].append(Segment(group=whole, process=source))
    for program in artifact.partitioned.cores:
        for group in program.groups:
            for piece in _cut(artifact, program, group):
                segment = Segment(group=piece, process=_compartments(artifact, piece))
                network.segments[piece.population].append(segment)
    for part in network.segments.values():
        part.sort(key=lambda segment: segment.group.start)
    gathered: dict[tuple[str, int, int], list[Any]] = {}
    for program in artifact.partitioned.cores:
        for tile in program.tiles:
            spec = artifact.partitioned.projections[tile.projection]
            key = (spec.source, spec.source_start, spec.source_stop)
            if key not in gathered:
                gathered[key] = _gather(network.segments[spec.source], *key[1:])
            weights = tile.mantissas.astype(np.int32) << spec.weight_shift
            for segment in network.segments[spec.target]:
                if tile.target_start <= segment.group.start < tile.target_stop:
                    rows = slice(
                        segment.group.start - tile.target_start,
                        segment.group.stop - tile.target_start,
                    )
                    dense = _dense(weights[rows], spec)
                    for port in gathered[key]:
                        port.connect(dense.s_in)
                    dense.a_out.connect(segment.process.a_in)
                    network.synapses.append(dense)
    return network


def _is_lif(process: Any) -> bool:
    return isinstance(process, LIF)


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


def _compartments(artifact: Artifact, group: CompartmentGroup) -> Any:
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
    assert isinstance(population, IntegerRelay)
    return Relay(threshold=np.array(population.threshold[part]))


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
