"""Cut what is spatial or irregular as a hypergraph: Mt-KaHyPar, then annealing.

Mt-KaHyPar: Gottesbüren et al., "Scalable Shared-Memory Hypergraph Partitioning", ALENEX 2021.

A *cell* is what stays together: all channels of a convolution at one place, or one compartment.
Every sender is a hyperedge over the cells that it reaches and its own, weighted by its packets;
with the objective km1 each core but the sender's own then costs its packets once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from mapping.errors import MissingDependencyError
from mapping.ir.partitioned import Members
from mapping.ir.quantized import IntegerPopulation, IntegerProjection
from mapping.ir.synapses import ConvSynapses
from mapping.partitioners.balanced import place, settle
from mapping.partitioners.ledger import Ledger
from mapping.partitioners.problem import PARTITIONERS, Assignment, PartitionProblem

Labels = npt.NDArray[np.int64]
SLACK = (1.05, 1.1, 1.2)
"""Numbers of cores that are tried, over the fewest that hold all compartments: where all are full,
nothing can move."""

ENOUGH = 2
"""So many cuts that could stay as they are end the trials."""

MOVES_PER_CELL, MOST_MOVES = 10_000, 15_000_000
"""Moves of an annealing that improves a cut."""

RESTARTS = 3
"""Annealings of every cut, the best of which counts: on LeNet-5 they differ by a percent."""

LARGE = 5_000
"""Cells beyond which one number of cores is tried, and one annealing."""

MOST_ENTRIES = 2**27
"""Hyperedges times cores beyond which the annealing would need too much memory, and is left out."""

FINEST = 1e-4
"""Share of the heaviest hyperedge below which weights are rounded up."""


@PARTITIONERS.register("hypergraph")
def hypergraph(problem: PartitionProblem) -> Assignment:
    """Cut what convolutions and sparse projections end on as a hypergraph, the rest by structure.

    Generic partitioners do badly on factor pairs and other dense layers, which are cut like
    :func:`mapping.partitioners.balanced.balanced` does, and placed once the others are.

    What does not fit its core, since the cut knows of compartments alone, goes where it adds the
    fewest packets.

    Raises:
        MissingDependencyError: ADL-DEP-02, mtkahypar is not installed.
        CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 05).
    """
    spatial = irregular(problem)
    regular = [p for p in problem.in_order() if p not in spatial]
    best: Ledger | None = None
    kept = 0
    if spatial:
        graph = _graph(problem, spatial)
        for cores in graph.core_counts(problem.neurons_per_core):
            ledger, as_cut = _filled(problem, spatial, graph, cores)
            kept += as_cut
            if best is None or ledger.total_packets() < best.total_packets():
                best = ledger
            if kept == ENOUGH or graph.sizes.size > LARGE:
                break
    return place(best or Ledger(problem), regular).assignment()


def irregular(problem: PartitionProblem) -> list[IntegerPopulation]:
    """The populations that are cut as a hypergraph, in order of the data flow."""
    forms = {p.spec.target for p in problem.network.projections if p.spec.form != "dense"}
    held_back = {p.spec.target for p in problem.network.projections if p.spec.gate}
    return [p for p in problem.in_order() if p.name in forms - held_back]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hypergraph:
    """Cells, by population the cell of each compartment, their sizes, and the hyperedges."""

    cell_of: dict[str, Labels]
    sizes: Labels
    edges: list[list[int]]
    weights: list[int]

    def cost(self, core_of: Labels) -> float:
        """The weights of the hyperedges, each as often as it leaves a core (km1)."""
        edge = np.repeat(np.arange(len(self.edges)), [len(pins) for pins in self.edges])
        pins = np.concatenate([np.asarray(pins) for pins in self.edges])
        joined = np.unique(np.stack([edge, core_of[pins]]), axis=1)[0]
        spread = np.bincount(joined, minlength=len(self.edges)) - 1
        return float(spread @ np.asarray(self.weights))

    def core_counts(self, neurons_per_core: int) -> Iterator[int]:
        """Rising numbers of cores worth trying."""
        fewest = -(-int(self.sizes.sum()) // neurons_per_core)
        yield from sorted({int(np.ceil(fewest * slack)) for slack in SLACK})


def _graph(problem: PartitionProblem, populations: list[IntegerPopulation]) -> _Hypergraph:
    ledger = Ledger(problem)
    cell_of: dict[str, Labels] = {}
    count = 0
    for population in populations:
        cells = _cells(ledger, population)
        cell_of[population.name] = cells + count
        count += int(cells.max()) + 1
    every = np.concatenate([cell_of[p.name] for p in populations])
    edges: list[list[int]] = []
    weights: list[float] = []
    for source in problem.network.populations:
        into = [
            p
            for p in problem.network.projections
            if p.spec.source == source.name and p.spec.target in cell_of
        ]
        if into:
            reached = _reached(source.size, into, cell_of, count)
            home = cell_of.get(source.name, np.full(source.size, -1))
            _add_edges(reached, home, problem.traffic.rates[source.name], edges, weights)
    scale = max(weights, default=1.0) * FINEST
    return _Hypergraph(
        cell_of=cell_of,
        sizes=np.bincount(every, minlength=count),
        edges=edges,
        weights=[int(np.ceil(weight / scale)) for weight in weights],
    )


def _cells(ledger: Ledger, population: IntegerPopulation) -> Labels:
    """``(size,)`` number of the cell of each compartment."""
    conv = ledger.convolution(population.name)
    if conv is None:
        return np.arange(population.size)
    place = np.arange(conv.size) % conv.plane
    for blocks in range(1, conv.out_channels + 1):
        bounds = [part[0] for part in np.array_split(np.arange(conv.out_channels), blocks)]
        channel = np.arange(conv.size) // conv.plane
        block = np.searchsorted(bounds, channel, side="right") - 1
        first = np.flatnonzero((place == conv.plane // 2) & (block == 0)).astype(np.int32)
        trial = ledger.trial(ledger.empty(), population.name, first)
        if ledger.fits(trial):
            break
    else:
        raise ledger.refuse(trial)
    return block * conv.plane + place


def _reached(
    size: int, projections: list[IntegerProjection], cell_of: dict[str, Labels], cells: int
) -> csr_array:
    """``(size, cells)`` pattern of which cells each sender reaches."""
    rows, columns = [], []
    for projection in projections:
        spec = projection.spec
        label = cell_of[spec.target][spec.target_start : spec.target_stop]
        sources, targets = _pairs(projection, label)
        rows.append(spec.source_start + sources)
        columns.append(targets)
    entries = (np.ones(sum(map(len, rows)), np.int64), tuple(map(np.concatenate, (rows, columns))))
    pattern = csr_array(coo_array(entries, shape=(size, cells)))
    pattern.data[:] = 1
    return pattern


def _pairs(projection: IntegerProjection, label: Labels) -> tuple[Labels, Labels]:
    """Sources and cells that a projection joins, each pair once."""
    synapses = projection.synapses
    if isinstance(synapses, ConvSynapses):
        conv = synapses.conv
        per_group = conv.outputs[0] // conv.groups
        by_group = label.reshape(conv.groups, per_group, conv.plane)
        inputs = np.arange(conv.inputs[0]).reshape(conv.groups, -1)
        plane = conv.inputs[1] * conv.inputs[2]
        found = []
        for _, _, output, source in conv.taps():
            cells = by_group[:, :, output].swapaxes(1, 2)[:, :, None, :]
            sources = inputs[:, None, :, None] * plane + source[None, :, None, None]
            pair = np.broadcast_arrays(sources, cells)
            found.append(np.unique(np.stack([part.ravel() for part in pair]), axis=1))
        joined = np.unique(np.concatenate(found, axis=1), axis=1)
        return joined[0], joined[1]
    matrix = synapses.with_values(np.ones(synapses.values.shape, np.int8)).matrix()
    entries = coo_array(matrix)
    row, column = entries.coords
    joined = np.unique(np.stack([column.astype(np.int64), label[row]]), axis=1)
    return joined[0], joined[1]


def _add_edges(
    reached: csr_array,
    home: Labels,
    rates: npt.NDArray[np.float64],
    edges: list[list[int]],
    weights: list[float],
) -> None:
    """One hyperedge for all senders of one cell that reach the same cells."""
    code = np.random.default_rng(0).integers(1, 2**62, reached.shape[1])
    key = np.stack([home, reached @ code])
    _, first, same = np.unique(key, axis=1, return_index=True, return_inverse=True)
    sums = np.bincount(np.ravel(same), rates)
    for example, weight in zip(first.tolist(), sums.tolist(), strict=True):
        cells = reached.indices[reached.indptr[example] : reached.indptr[example + 1]].tolist()
        pins = sorted({*cells, *([int(home[example])] if home[example] >= 0 else [])})
        if len(pins) > 1 and weight > 0:
            edges.append(pins)
            weights.append(weight)


def _filled(
    problem: PartitionProblem,
    populations: list[IntegerPopulation],
    graph: _Hypergraph,
    cores: int,
) -> tuple[Ledger, bool]:
    """A cut into about ``cores`` cores in a ledger, and whether all could stay where it was cut."""
    core_of = _cut(graph, cores, problem.neurons_per_core, problem.seed)
    ledger = Ledger(problem)
    cut = [
        (population.name, int(number), np.flatnonzero(homes == number).astype(np.int32))
        for population in populations
        for homes in [core_of[graph.cell_of[population.name]]]
        for number in np.unique(homes)
    ]
    opened = {number: ledger.open() for number in sorted({number for _, number, _ in cut})}
    left: list[tuple[str, Members]] = []
    for name, number, members in sorted(cut, key=lambda entry: -entry[2].size):
        trial = ledger.trial(opened[number], name, members)
        if ledger.fits(trial):
            ledger.take(trial)
        else:
            left.append((name, members))
    for name, members in left:
        settle(ledger, name, members)
    return ledger, not left


def _cut(graph: _Hypergraph, cores: int, neurons_per_core: int, seed: int) -> Labels:
    """``(cells,)`` core of each cell."""
    if cores == 1 or not graph.edges:
        return np.arange(graph.sizes.size) * cores // graph.sizes.size
    library, engine = kahypar_engine()
    context = engine.context_from_preset(library.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(cores, 0.0, library.Objective.KM1)
    context.set_individual_target_block_weights([neurons_per_core] * cores)
    context.logging = False
    library.set_seed(seed)
    sizes = graph.sizes.tolist()
    built = engine.create_hypergraph(
        context, len(sizes), len(graph.edges), graph.edges, sizes, graph.weights
    )
    from mapping.partitioners.anneal import annealed

    start = np.asarray(built.partition(context).get_partition(), np.int64)
    if len(graph.edges) * cores > MOST_ENTRIES:
        return start
    found = (
        annealed(
            graph.edges,
            graph.weights,
            graph.sizes,
            start,
            cores=cores,
            capacity=neurons_per_core,
            moves=min(MOVES_PER_CELL * graph.sizes.size, MOST_MOVES),
            seed=seed + restart,
        )
        for restart in range(RESTARTS if graph.sizes.size <= LARGE else 1)
    )
    return min(found, key=graph.cost)


@cache
def kahypar_engine() -> tuple[Any, Any]:
    """The library and its engine, which a process may start only once."""
    try:
        import mtkahypar
    except ImportError as error:
        raise MissingDependencyError(
            "mtkahypar is not installed",
            where="partitioner hypergraph",
            remedy="install it (wheels exist for Python 3.11), or use the partitioner `balanced`",
            code="ADL-DEP-02",
        ) from error
    return mtkahypar, mtkahypar.initialize(1)
