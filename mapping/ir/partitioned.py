"""The network cut into core programs: still no places, only who shares a core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mapping.ir.network import Input
from mapping.ir.quantized import (
    Int32Array,
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
from mapping.ir.synapses import IntArray, Synapses, stacked
from mapping.ir.timing import pipeline_latency
from mapping.targets.spec import ChipSpec, CoreSpec

Members = Int32Array
"""Numbers of compartments in rising order."""

HOST = -1
"""Index that stands for the host, the source of all input packets, where a core is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompartmentGroup:
    """Some compartments of one population on one core.

    Attributes:
        population: its name.
        ranges: rising half-open ranges of compartments that do not touch.
    """

    population: str
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, population: str, members: Members) -> CompartmentGroup:
        """The group of the compartments ``members``, in rising order."""
        breaks = np.flatnonzero(np.diff(members) != 1) + 1
        starts = members[np.concatenate([[0], breaks])].tolist()
        stops = (members[np.concatenate([breaks - 1, [-1]])] + 1).tolist()
        return cls(population=population, ranges=tuple(zip(starts, stops, strict=True)))

    @property
    def size(self) -> int:
        """Number of compartments."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    def members(self) -> Members:
        """``(size,)`` the compartments, in rising order."""
        return np.concatenate([np.arange(*ends, dtype=np.int32) for ends in self.ranges])

    def __str__(self) -> str:
        shown = [f"{start}:{stop}" for start, stop in self.ranges[:3]]
        if len(self.ranges) > len(shown):
            shown[2:] = ["…", f"{self.ranges[-1][0]}:{self.ranges[-1][1]}"]
        return f"{self.population}[{', '.join(shown)}]"


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Destination:
    """Where compartments of a population send one packet per spike.

    Attributes:
        members: the compartments, in rising order.
        core: the receiving core, or :data:`HOST` for gates that report to it.
        gate, gates_needed: under which condition; see :class:`mapping.ir.elements.Dense`.
    """

    members: Members
    core: int
    gate: str = ""
    gates_needed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynapseTile:
    """The synapses of one projection that end on one core, with their complete fan-in.

    Attributes:
        projection: index into ``PartitionedNetwork.projections``.
        synapses: int8 mantissas; the rows are the core's compartments of the target among those
            that the projection ends on.
    """

    projection: int
    synapses: Synapses

    def sources(self, spec: ProjectionSpec) -> Members:
        """The source compartments of ``spec`` that it has synapses from."""
        read = self.synapses.reads(np.arange(self.synapses.shape[0]))
        return (spec.source_start + np.flatnonzero(read)).astype(np.int32)

    def words_read(self, spec: ProjectionSpec, core: CoreSpec) -> IntArray:
        """``(columns,)`` words of a core's memory that a spike of each source of ``spec`` reads."""
        rows = self.synapses.shape[0]
        return self.synapses.words_read(lambda length: _words_of_list(length, spec, rows, core))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoreProgram:
    """What one core holds: compartments, one group of each population, and their synapses."""

    groups: tuple[CompartmentGroup, ...]
    tiles: tuple[SynapseTile, ...]

    @property
    def compartments(self) -> int:
        """Number of compartments over all groups."""
        return sum(group.size for group in self.groups)

    def targets(self, spec: ProjectionSpec) -> Members:
        """The compartments on this core that ``spec`` ends on."""
        for group in self.groups:
            if group.population == spec.target:
                members = group.members
                inside = (members >= spec.target_start) & (members < spec.target_stop)
                return members[inside]
        return np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUsage:
    """What a core program takes of each core resource."""

    compartments: int
    compartment_groups: int
    input_axons: int
    output_axons: int
    synapse_words: int


@dataclass(frozen=True, kw_only=True, eq=False)
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

    @cached_property
    def destinations(self) -> dict[str, list[Destination]]:
        """Per source population: where its packets go, sorted by core.

        Blocks that the host holds back together share packets; others on the same core do not.
        """
        read: dict[tuple[str, int, str, int], npt.NDArray[np.bool_]] = {}
        sizes = {p.name: p.size for p in self.populations}
        for core, program in enumerate(self.cores):
            for tile in program.tiles:
                spec = self.projections[tile.projection]
                key = (spec.source, core, spec.gate, spec.gates_needed)
                flags = read.setdefault(key, np.zeros(sizes[spec.source], np.bool_))
                flags[tile.sources(spec)] = True
        for name in {spec.gate for spec in self.projections if spec.gate}:
            read[name, HOST, "", 0] = np.ones(sizes[name], np.bool_)
        found: dict[str, list[Destination]] = {name: [] for name in sizes}
        for (source, core, gate, needed), flags in sorted(read.items(), key=lambda entry: entry[0]):
            members = np.flatnonzero(flags).astype(np.int32)
            if members.size:
                found[source].append(
                    Destination(members=members, core=core, gate=gate, gates_needed=needed)
                )
        return found

    @cached_property
    def homes(self) -> dict[str, Int32Array]:
        """Per population: ``(size,)`` core of each compartment; inputs are at the host."""
        found = {p.name: np.full(p.size, HOST, np.int32) for p in self.populations}
        for core, program in enumerate(self.cores):
            for group in program.groups:
                found[group.population][group.members] = core
        return found

    def pieces(self, core: int) -> list[CompartmentGroup]:
        """The groups of a core, cut so that every tile of it covers a piece whole or not at all."""
        program = self.cores[core]
        found: list[CompartmentGroup] = []
        for group in program.groups:
            specs = (self.projections[tile.projection] for tile in program.tiles)
            own = [spec for spec in specs if spec.target == group.population]
            bounds = {end for spec in own for end in (spec.target_start, spec.target_stop)}
            members = group.members
            cuts = np.unique(np.searchsorted(members, sorted(bounds)))
            found += [
                CompartmentGroup.of(group.population, part)
                for part in np.split(members, cuts)
                if part.size
            ]
        return found

    def per_packet(
        self,
        source: str,
        to: Destination,
        amounts: Callable[[SynapseTile, ProjectionSpec], IntArray],
    ) -> IntArray:
        """``(members,)`` what a packet of each of ``to.members`` brings about on ``to.core``.

        Args:
            source: name of their population.
            to: one of its destinations.
            amounts: ``(columns,)`` of one tile that such a packet reaches; they are added up.
        """
        found = np.zeros(to.members.size, np.int64)
        for tile in self.cores[to.core].tiles if to.core != HOST else ():
            spec = self.projections[tile.projection]
            if (spec.source, spec.gate, spec.gates_needed) == (source, to.gate, to.gates_needed):
                inside = (to.members >= spec.source_start) & (to.members < spec.source_stop)
                columns = to.members[inside] - spec.source_start
                found[inside] += amounts(tile, spec)[columns]
        return found

    def usage(self, chip: ChipSpec) -> tuple[CoreUsage, ...]:
        """What every core program takes of ``chip``'s core resources, in core order."""
        input_axons = np.zeros(len(self.cores), np.int64)
        output_axons = np.zeros(len(self.cores), np.int64)
        for source, destinations in self.destinations.items():
            for destination in destinations:
                senders = self.homes[source][destination.members]
                output_axons += np.bincount(senders[senders != HOST], minlength=len(self.cores))
                if destination.core != HOST:
                    input_axons[destination.core] += destination.members.size
        return tuple(
            CoreUsage(
                compartments=program.compartments,
                compartment_groups=len(program.groups),
                input_axons=int(input_axons[core]),
                output_axons=int(output_axons[core]),
                synapse_words=sum(self._tile_words(tile, chip.core) for tile in program.tiles),
            )
            for core, program in enumerate(self.cores)
        )

    def _tile_words(self, tile: SynapseTile, core: CoreSpec) -> int:
        rows = tile.synapses.shape[0]
        lists = tile.synapses.lists(np.arange(rows))
        return list_words(lists, self.projections[tile.projection], rows, core)


def list_words(lists: Counter[int], spec: ProjectionSpec, rows: int, core: CoreSpec) -> int:
    """Memory words of the synapse lists of a projection on one core.

    Args:
        lists: how many there are of which length.
        spec: their projection.
        rows: compartments of the core that it ends on, among which an index chooses.
        core: the chip's cores.
    """
    return sum(
        number * _words_of_list(length, spec, rows, core) for length, number in lists.items()
    )


def _words_of_list(length: int, spec: ProjectionSpec, rows: int, core: CoreSpec) -> int:
    """Memory words of one of the lists that :func:`list_words` adds up."""
    targets = 0 if spec.form == "dense" else rows
    return core.words_per_axon(length, spec.weight_bits, targets=targets, delay=spec.longest_delay)


def packet_flows(partitioned: PartitionedNetwork) -> list[tuple[int, int]]:
    """Sorted pairs (sender, receiver) of cores, or the host, between which packets can travel."""
    flows: set[tuple[int, int]] = set()
    for source, destinations in partitioned.destinations.items():
        for d in destinations:
            senders = np.unique(partitioned.homes[source][d.members])
            flows |= {(sender, d.core) for sender in senders.tolist()}
    return sorted(flows)


def reassemble(partitioned: PartitionedNetwork) -> QuantizedNetwork:
    """Undo the partition: put the tiles of every projection together again."""
    parts: list[list[tuple[Members, Synapses]]] = [[] for _ in partitioned.projections]
    for program in partitioned.cores:
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            rows = program.targets(spec) - spec.target_start
            parts[tile.projection].append((rows, tile.synapses))
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
