"""The network cut into core programs: still no places, only who shares a core."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapping.ir.network import Input
from mapping.ir.quantized import (
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    ProjectionSpec,
    QuantizedNetwork,
    WeightFidelity,
    input_of,
    projection_graph,
)
from mapping.ir.synapses import Synapses, stacked
from mapping.ir.timing import pipeline_latency
from mapping.targets.spec import ChipSpec, CoreSpec

HOST = -1
"""Index that stands for the host, the source of all input packets, where a core is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompartmentGroup:
    """Compartments ``start:stop`` of one population on one core."""

    population: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of compartments."""
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.population}[{self.start}:{self.stop}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedLayer:
    """A factor pair that chooses its rank at run time.

    Attributes:
        layer: name of the projection of the model; gate: of its gate population.
        levels: rising ranks.
    """

    layer: str
    gate: str
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Destination:
    """Where the compartments ``start:stop`` of a population send one packet per spike.

    Attributes:
        start, stop: the compartments.
        core: the receiving core, or :data:`HOST` for gates that report to it.
        gate, gates_needed: under which condition; see :class:`mapping.ir.elements.Dense`.
    """

    start: int
    stop: int
    core: int
    gate: str = ""
    gates_needed: int = 0

    def overlap(self, start: int, stop: int) -> int:
        """How many of the compartments ``start:stop`` it is for."""
        return max(0, min(self.stop, stop) - max(self.start, start))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynapseTile:
    """Rows of one projection on one core, with its complete fan-in.

    Attributes:
        projection: index into ``PartitionedNetwork.projections``.
        target_start, target_stop: target compartments, numbered within their population.
        synapses: int8 mantissas of those rows.
    """

    projection: int
    target_start: int
    target_stop: int
    synapses: Synapses

    def sources(self, spec: ProjectionSpec) -> list[tuple[int, int]]:
        """Sorted ranges of the source compartments of ``spec`` that it has synapses from."""
        read = self.synapses.reads(0, self.target_stop - self.target_start)
        return [(spec.source_start + start, spec.source_start + stop) for start, stop in runs(read)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoreProgram:
    """What one core holds: compartments, and the synapses that end on them."""

    groups: tuple[CompartmentGroup, ...]
    tiles: tuple[SynapseTile, ...]

    @property
    def compartments(self) -> int:
        """Number of compartments over all groups."""
        return sum(group.size for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUsage:
    """What a core program takes of each core resource."""

    compartments: int
    compartment_groups: int
    input_axons: int
    output_axons: int
    synapse_words: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartitionedNetwork:
    """Core programs plus the descriptions of what they are parts of."""

    name: str
    dt_s: float
    populations: tuple[IntegerPopulation, ...]
    projections: tuple[ProjectionSpec, ...]
    output: str
    fidelity: tuple[WeightFidelity, ...]
    cores: tuple[CoreProgram, ...]

    @property
    def input(self) -> Input:
        """The input population."""
        return input_of(self.populations)

    @property
    def reads_voltage(self) -> bool:
        """Whether the answer is the voltage of an output that never spikes."""
        output = self.population(self.output)
        return isinstance(output, IntegerLif) and not output.spikes

    @property
    def latency_steps(self) -> int:
        """Steps from the input to the output."""
        graph = projection_graph(self.populations, list(self.projections))
        return pipeline_latency(graph, self.input.name, self.output)

    def population(self, name: str) -> IntegerPopulation:
        """The population called ``name``."""
        return next(p for p in self.populations if p.name == name)

    def gated_layers(self) -> tuple[GatedLayer, ...]:
        """The layers that have a gate."""
        found = []
        for gate in self.populations:
            if isinstance(gate, IntegerGate):
                layer = next(s.layer for s in self.projections if s.target == gate.name)
                factors = (s for s in self.projections if (s.layer, s.part) == (layer, "V"))
                levels = sorted({s.target_stop for s in factors})
                found.append(GatedLayer(layer=layer, gate=gate.name, levels=tuple(levels)))
        return tuple(found)

    def destinations(self) -> dict[str, list[Destination]]:
        """Per source population: where its packets go, merged, sorted by core.

        Blocks that the host holds back together share packets; others on the same core do not.
        """
        columns: dict[tuple[str, int, str, int], set[tuple[int, int]]] = defaultdict(set)
        for core, program in enumerate(self.cores):
            for tile in program.tiles:
                spec = self.projections[tile.projection]
                key = (spec.source, core, spec.gate, spec.gates_needed)
                columns[key].update(tile.sources(spec))
        for name in {spec.gate for spec in self.projections if spec.gate}:
            columns[name, HOST, "", 0].add((0, self.population(name).size))
        found: dict[str, list[Destination]] = {p.name: [] for p in self.populations}
        for (source, core, gate, needed), slices in sorted(columns.items()):
            found[source] += [
                Destination(start=start, stop=stop, core=core, gate=gate, gates_needed=needed)
                for start, stop in merged(slices)
            ]
        return found

    def pieces(self, core: int) -> list[CompartmentGroup]:
        """The groups of a core, cut so that every tile of it covers a piece whole or not at all."""
        program = self.cores[core]
        found: list[CompartmentGroup] = []
        for group in program.groups:
            bounds = {group.start, group.stop}
            for tile in program.tiles:
                if self.projections[tile.projection].target == group.population:
                    ends = (tile.target_start, tile.target_stop)
                    bounds |= {end for end in ends if group.start < end < group.stop}
            cuts = sorted(bounds)
            found += [
                CompartmentGroup(population=group.population, start=start, stop=stop)
                for start, stop in itertools.pairwise(cuts)
            ]
        return found

    def usage(self, chip: ChipSpec) -> tuple[CoreUsage, ...]:
        """What every core program takes of ``chip``'s core resources, in core order."""
        output_axons = [0] * len(self.cores)
        input_axons = [0] * len(self.cores)
        home = self.homes()
        for source, destinations in self.destinations().items():
            for destination in destinations:
                if destination.core != HOST:
                    input_axons[destination.core] += destination.stop - destination.start
                for begin, end, sender in home.get(source, []):
                    if sender != HOST:
                        output_axons[sender] += destination.overlap(begin, end)
        return tuple(
            CoreUsage(
                compartments=program.compartments,
                compartment_groups=len(program.groups),
                input_axons=input_axons[core],
                output_axons=output_axons[core],
                synapse_words=sum(self._tile_words(tile, chip.core) for tile in program.tiles),
            )
            for core, program in enumerate(self.cores)
        )

    def homes(self) -> dict[str, list[tuple[int, int, int]]]:
        """Per population: ``(start, stop, core)`` of each group, sorted; inputs are at the host."""
        found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        found[self.input.name].append((0, self.input.size, HOST))
        for core, program in enumerate(self.cores):
            for group in program.groups:
                found[group.population].append((group.start, group.stop, core))
        return {name: sorted(groups) for name, groups in found.items()}

    def _tile_words(self, tile: SynapseTile, core: CoreSpec) -> int:
        bits = self.projections[tile.projection].weight_bits
        lists = tile.synapses.lists(0, tile.target_stop - tile.target_start)
        return sum(n * core.words_per_axon(length, bits) for length, n in lists.items())


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Sorted half-open ranges in which ``flags`` are set."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def merged(slices: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of half-open ranges as sorted disjoint ranges."""
    union: list[tuple[int, int]] = []
    for start, stop in sorted(slices):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(stop, union[-1][1]))
        else:
            union.append((start, stop))
    return union


def reassemble(partitioned: PartitionedNetwork) -> QuantizedNetwork:
    """Undo the partition: put the tiles of every projection together again."""
    parts: list[list[tuple[int, Synapses]]] = [[] for _ in partitioned.projections]
    for program in partitioned.cores:
        for tile in program.tiles:
            parts[tile.projection].append((tile.target_start, tile.synapses))
    return QuantizedNetwork(
        name=partitioned.name,
        dt_s=partitioned.dt_s,
        populations=partitioned.populations,
        projections=tuple(
            IntegerProjection(spec=spec, synapses=stacked(slices, spec.rows))
            for spec, slices in zip(partitioned.projections, parts, strict=True)
        ),
        output=partitioned.output,
        fidelity=partitioned.fidelity,
    )
