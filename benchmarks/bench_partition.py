"""Packets between cores after cutting a network, beside METIS, Mt-KaHyPar and a sequential fill.

Every cut is counted by a function of this file that knows neither ledger nor core programs: a spike
costs a packet for each core, but its own, that holds a synapse of it. Peers that overshoot the
limits of a core are counted all the same, and said to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pymetis
from partition_networks import WINDOW, Problem, lenet, low_rank
from results import Row, row, write
from scipy.sparse import coo_array, csr_array

from mapping.ir.partitioned import HOST, PartitionedNetwork
from mapping.partitioners.hypergraph import kahypar_engine
from mapping.passes.partition import Partition


def adjacency(problem: Problem) -> tuple[csr_array, np.ndarray, np.ndarray]:
    """``(compartments, compartments)`` synapses from row to column, their spikes, and fan-ins."""
    populations = problem.network.populations[1:]
    ends = np.cumsum([0, *(p.size for p in populations)])
    first = {p.name: int(end) for p, end in zip(populations, ends, strict=False)}
    senders, receivers = [], []
    for projection in problem.network.projections:
        spec = projection.spec
        if spec.source in first:
            ones = projection.synapses.with_values(
                np.ones(projection.synapses.values.shape, np.int8)
            )
            entries = csr_array(ones.matrix()).tocoo()
            senders.append(first[spec.source] + spec.source_start + entries.col)
            receivers.append(first[spec.target] + spec.target_start + entries.row)
    joined = np.concatenate(senders), np.concatenate(receivers)
    whole = csr_array(coo_array((np.ones(joined[0].size, np.int8), joined), shape=(ends[-1],) * 2))
    rates = np.concatenate([problem.traffic.rates[p.name] for p in populations])
    return whole, rates, np.bincount(joined[1], minlength=ends[-1])


def packets(problem: Problem, core_of: np.ndarray) -> float:
    """Packets between cores in a window."""
    synapses, rates, _ = adjacency(problem)
    entries = coo_array(synapses)
    reached = np.unique(np.stack([entries.row, core_of[entries.col]]), axis=1)
    remote = core_of[reached[0]] != reached[1]
    return float(rates[reached[0][remote]].sum()) * WINDOW


def ours(problem: Problem) -> tuple[Problem, PartitionedNetwork]:
    """The network as we cut it, which may have partial sums, and its core programs."""
    partition = Partition()
    network, traffic = partition.prepare(problem.network, problem.chip, problem.traffic)
    cut = partition.run(network, problem.chip, traffic)
    return replace(problem, network=network, traffic=traffic), cut


def sequential(problem: Problem) -> np.ndarray:
    """Cores filled one after the other, relays in the order of their rank."""
    fill = Partition(partitioner="first-fit")
    return cores_of(problem, fill.run(problem.network, problem.chip, problem.traffic))


def cores_of(problem: Problem, cut: PartitionedNetwork) -> np.ndarray:
    """``(compartments,)`` core of each."""
    homes = np.concatenate([cut.homes[p.name] for p in problem.network.populations[1:]])
    assert (homes != HOST).all()
    return homes


def metis(problem: Problem, cores: int) -> np.ndarray:
    """Edge cut, every compartment a vertex of one, edges as heavy as their spikes."""
    synapses, rates, _ = adjacency(problem)
    entries = coo_array(synapses)
    weights = coo_array((rates[entries.row], (entries.row, entries.col)), shape=synapses.shape)
    graph = csr_array(weights + weights.T)
    links = pymetis.CSRAdjacency(graph.indptr.astype(np.int32), graph.indices.astype(np.int32))
    weights = np.rint(graph.data * WINDOW).astype(np.int32)
    _, membership = pymetis.part_graph(cores, links, eweights=weights)
    return np.asarray(membership)


def kahypar(problem: Problem, cores: int) -> np.ndarray:
    """Connectivity of one hyperedge per sender, blocks of at most a core's share of resources."""
    synapses, rates, fan_in = adjacency(problem)
    limits = problem.chip.core
    share = np.maximum(1 / limits.compartments.value, fan_in / (8 * limits.synapse_words.value))
    sizes = np.ceil(share * limits.compartments.value).astype(int)
    edges = [
        [source, *synapses.indices[synapses.indptr[source] : synapses.indptr[source + 1]].tolist()]
        for source in range(synapses.shape[0])
    ]
    sending = [number for number, edge in enumerate(edges) if len(edge) > 1]
    mtkahypar, engine = kahypar_engine()
    context = engine.context_from_preset(mtkahypar.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(cores, 0.05, mtkahypar.Objective.KM1)
    context.logging = False
    mtkahypar.set_seed(0)
    graph = engine.create_hypergraph(
        context,
        len(edges),
        len(sending),
        [edges[number] for number in sending],
        sizes.tolist(),
        np.rint(rates[sending] * WINDOW).astype(int).tolist(),
    )
    return np.asarray(graph.partition(context).get_partition())


def overshoot(problem: Problem, core_of: np.ndarray) -> float:
    """How many times a core's compartments the fullest core holds."""
    return float(np.bincount(core_of).max()) / problem.chip.core.compartments.value


def bench_case(name: str, problem: Problem) -> list[Row]:
    """Packets, cores and seconds of one network."""
    ours(problem)
    start = time.perf_counter()
    own, cut = ours(problem)
    seconds = time.perf_counter() - start
    cores = len(cut.cores)
    peers: dict[str, Callable[[], np.ndarray]] = {
        "sequential fill": lambda: sequential(problem),
        "METIS": lambda: metis(problem, cores),
        "Mt-KaHyPar": lambda: kahypar(problem, cores),
    }
    found, took, fullest = {}, {}, {}
    for peer, run in peers.items():
        start = time.perf_counter()
        core_of = run()
        took[peer] = time.perf_counter() - start
        found[peer], fullest[peer] = packets(problem, core_of), overshoot(problem, core_of)
    core_of = cores_of(own, cut)
    unit = f"packets between cores in {WINDOW} steps"
    return [
        row(name, "packets", unit, packets(own, core_of), found),
        row(name, "fullest core", "of its compartments", overshoot(own, core_of), fullest, 1.0),
        row(name, "duration", "s", seconds, took),
    ]


def bench(*, quick: bool) -> list[Row]:
    """The rows of all cases."""
    pairs = low_rank(width=512, rank=16) if quick else low_rank()
    return [*bench_case("LeNet-5", lenet()), *bench_case(pairs.network.name, pairs)]


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = bench(quick=options.quick)
    for r in rows:
        beside = ", ".join(f"{name} {value:,.4g}" for name, value in r["peers"].items())
        print(f"{r['case']}: {r['ours']:,.5g} {r['unit']} (beside {beside})")
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy", "mtkahypar", "pymetis"))


if __name__ == "__main__":
    main()
