"""What a partitioner is asked, and what it answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import networkx as nx
import numpy as np

from mapping.ir.network import Input
from mapping.ir.partitioned import (
    CompartmentGroup,
    CoreProgram,
    Members,
    PartitionedNetwork,
    SynapseTile,
)
from mapping.ir.quantized import IntegerPopulation, IntegerRelay, ProjectionSpec, QuantizedNetwork
from mapping.ir.timing import feed_forward_part
from mapping.ir.traffic import TrafficProfile
from mapping.registry import Registry
from mapping.targets.spec import ChipSpec

Goal = Literal["energy", "latency", "cores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProblem:
    """A network to be cut, and the limits of a core.

    Attributes:
        network: what is cut.
        chip: whose cores the pieces go to.
        neurons_per_core: most compartments on a core.
        traffic: expected packets.
        goal: what is to be least before anything else, see
            :func:`mapping.partitioners.best.best`.
        seed: for partitioners that search.
    """

    network: QuantizedNetwork
    chip: ChipSpec
    neurons_per_core: int
    traffic: TrafficProfile
    goal: Goal
    seed: int

    def in_order(self) -> list[IntegerPopulation]:
        """The populations on cores in order of the data flow; loops are cut where they lead back.

        Where the flow leaves the order open, what a population is and receives decides, never its
        name or its place in the network.
        """
        content = {p.name: self._content(p) for p in self.network.populations}
        acyclic = feed_forward_part(self.network.graph(), self.network.input.name)
        ordered = nx.lexicographical_topological_sort(acyclic, key=content.__getitem__)
        found = [self.network.population(name) for name in ordered]
        return [population for population in found if not isinstance(population, Input)]

    def _content(self, population: IntegerPopulation) -> bytes:
        """Digest of a population's size and of the synapses that end on it."""
        received = sorted(
            blake2b(p.mantissas.tobytes(), person=p.spec.form.encode()).digest()
            for p in self.network.projections
            if p.spec.target == population.name
        )
        return blake2b(b"".join([str(population.shape).encode(), *received])).digest()

    def units(self, population: IntegerPopulation) -> list[tuple[int, int, str]]:
        """Ranges of compartments that are placed one after the other, relays by rank block.

        The third entry names the cores that are reserved for the range: a block that the host
        holds back while a gate is off gets cores of its own, which then stay dark.
        """
        bounds: tuple[int, ...] = (0, population.size)
        if isinstance(population, IntegerRelay):
            bounds = population.block_bounds
        held_back = {
            p.spec.target_start
            for p in self.network.projections
            if p.spec.gate and p.spec.target == population.name
        }
        return [
            (start, stop, f"{population.name}[{start}]" if start in held_back else "")
            for start, stop in itertools.pairwise(bounds)
        ]

    def partitioned(self, assignment: Assignment) -> PartitionedNetwork:
        """The network cut as ``assignment`` says."""
        network = self.network
        return PartitionedNetwork(
            name=network.name,
            dt_s=network.dt_s,
            populations=network.populations,
            projections=tuple(p.spec for p in network.projections),
            output=network.output,
            fidelity=network.fidelity,
            cores=tuple(_core_program(network, groups) for groups in assignment),
        )


Assignment = tuple[tuple[CompartmentGroup, ...], ...]
"""The compartments on each core, one group of each population."""

Partitioner = Callable[[PartitionProblem], Assignment]
PARTITIONERS: Registry[Partitioner] = Registry("partitioner", "adlrns_map.partitioners")


def _core_program(network: QuantizedNetwork, groups: tuple[CompartmentGroup, ...]) -> CoreProgram:
    """``groups`` with the synapses that end on them."""
    tiles = []
    for group in groups:
        members = group.members
        for number, projection in enumerate(network.projections):
            spec = projection.spec
            if spec.target == group.population and (rows := within(members, spec)).size:
                synapses = projection.synapses.rows(rows - spec.target_start)
                tiles.append(SynapseTile(projection=number, synapses=synapses))
    return CoreProgram(groups=groups, tiles=tuple(tiles))


def within(members: Members, spec: ProjectionSpec) -> Members:
    """Those of ``members`` that ``spec`` ends on."""
    first, last = np.searchsorted(members, (spec.target_start, spec.target_stop))
    return members[first:last]
