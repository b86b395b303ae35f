"""How the partitioners cut, what their ledger counts, and which of them wins."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.networks import dense_network, digits_like_network, small_network
from support.spatial import CONV, spatial_network

from mapping.errors import CapacityError, ConfigError, MissingDependencyError
from mapping.ir.network import Dense, Input, Lif, Network
from mapping.ir.partitioned import HOST, PartitionedNetwork, packet_flows
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import TrafficProfile
from mapping.ir.verify import verify_partition
from mapping.latency import LATENCY_MODELS, core_time_s
from mapping.partitioners import PARTITIONERS, Goal, PartitionProblem
from mapping.partitioners import hypergraph as cutting
from mapping.partitioners.anneal import annealed
from mapping.partitioners.balanced import place
from mapping.partitioners.ledger import Ledger
from mapping.passes.partition import Partition
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

LOIHI2 = load_target("loihi2")


def quantised(network: Network) -> QuantizedNetwork:
    return Quantize().run(realise_factors(network), LOIHI2)


def problem_of(
    network: QuantizedNetwork, chip: ChipSpec = LOIHI2, cap: int = 4096, seed: int = 0
) -> PartitionProblem:
    rng = np.random.default_rng(seed)
    traffic = TrafficProfile.assumed(network)
    rates = {name: rng.random(rate.size) for name, rate in traffic.rates.items()}
    held_back = dict.fromkeys(traffic.held_back, rates[network.input.name])
    return PartitionProblem(
        network=network,
        chip=chip,
        neurons_per_core=cap,
        traffic=replace(traffic, rates=rates, held_back=held_back),
        goal="energy",
        seed=seed,
    )


def remote_packets(problem: PartitionProblem, cut: PartitionedNetwork) -> float:
    """Packets between cores and from the host, compartment by compartment."""
    home = {
        (group.population, number): core
        for core, program in enumerate(cut.cores)
        for group in program.groups
        for number in group.members.tolist()
    }
    total = 0.0
    for source, destinations in cut.destinations.items():
        for to in destinations:
            rates = problem.traffic.sent(source, to.gate, to.gates_needed)
            for number in to.members.tolist():
                total += rates[number] * (home.get((source, number), HOST) != to.core)
    return total


NETWORKS = {
    "dense": quantised(dense_network((9, 8, 7), recurrent=True)),
    "pair": quantised(digits_like_network(rank=8, levels=(3, 8))),
    "spatial": quantised(spatial_network()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("cap", [3, 11])
def test_the_ledger_counts_what_the_core_programs_use(name: str, cap: int) -> None:
    problem = problem_of(NETWORKS[name], cap=cap)
    ledger = place(Ledger(problem), problem.in_order())
    cut = problem.partitioned(ledger.assignment())
    verify_partition(problem.network, cut)
    for core, usage in zip(ledger.cores, cut.usage(LOIHI2), strict=True):
        assert core.compartments == usage.compartments
        assert core.synapse_words == usage.synapse_words
        assert core.input_axons == usage.input_axons
        assert core.output_axons == usage.output_axons
    assert ledger.total_packets() == pytest.approx(remote_packets(problem, cut))
    assert problem.traffic.remote_packets(cut) == pytest.approx(remote_packets(problem, cut))


def test_the_packets_of_the_trials_add_up() -> None:
    problem = problem_of(NETWORKS["spatial"], cap=7)
    ledger, total = Ledger(problem), 0.0
    rng = np.random.default_rng(0)
    for population in rng.permutation(np.array(problem.in_order(), object)):
        for part in np.array_split(rng.permutation(population.size), 3):
            members = np.sort(part).astype(np.int32)
            trial = ledger.trial(ledger.open(), population.name, members)
            total += ledger.packets(trial)
            ledger.take(trial)
            assert ledger.total_packets() == pytest.approx(total)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), cap=st.integers(4, 30), words=st.integers(40, 200))
def test_a_spatial_network_is_cut_within_all_limits(seed: int, cap: int, words: int) -> None:
    network = quantised(spatial_network(seed=seed % 3))
    chip = tiny_chip(compartments=30, synapse_words=words)
    for name in PARTITIONERS:
        problem = problem_of(network, chip, cap, seed)
        try:
            cut = problem.partitioned(PARTITIONERS.get(name)(problem))
        except CapacityError:
            continue
        verify_partition(network, cut)
        for usage in cut.usage(chip):
            assert usage.compartments <= cap
            assert usage.synapse_words <= words


def test_balanced_cuts_a_population_evenly() -> None:
    cut = Partition(partitioner="balanced", neurons_per_core=7).run(
        quantised(dense_network((4, 16, 3))), LOIHI2
    )
    sizes = sorted(g.size for c in cut.cores for g in c.groups if g.population == "p1")
    assert sizes == [5, 5, 6]


def test_balanced_cuts_a_convolution_into_boxes() -> None:
    network = NETWORKS["spatial"]
    cut = Partition(partitioner="balanced", neurons_per_core=8).run(network, LOIHI2)
    boxes = [g.members for c in cut.cores for g in c.groups if g.population == "features"]
    assert len(boxes) == CONV.size // 8
    for members in boxes:
        axes = np.unravel_index(members, CONV.outputs)
        extents = [np.ptp(axis) + 1 for axis in axes]
        assert members.size == np.prod(extents)


def test_places_of_an_image_keep_their_channels_together() -> None:
    problem = problem_of(NETWORKS["spatial"], cap=16)
    cut = problem.partitioned(PARTITIONERS.get("hypergraph")(problem))
    for core in cut.cores:
        for group in core.groups:
            if group.population == "features":
                places = group.members % CONV.plane
                assert set(np.bincount(places)) <= {0, CONV.out_channels}


def test_a_hypergraph_saves_packets_on_an_image() -> None:
    problem = problem_of(NETWORKS["spatial"], cap=12)
    packets = {
        name: remote_packets(problem, problem.partitioned(PARTITIONERS.get(name)(problem)))
        for name in PARTITIONERS
    }
    assert packets["hypergraph"] < packets["first-fit"]
    assert packets["best"] == min(packets.values())


@pytest.mark.parametrize("cap", [5, 12, 16])
def test_best_serves_the_goal(cap: int) -> None:
    problem = problem_of(NETWORKS["spatial"], cap=cap)

    def measured(name: str, goal: Goal) -> float:
        cut = problem.partitioned(PARTITIONERS.get(name)(replace(problem, goal=goal)))
        counts = problem.traffic.core_counts(cut, packet_flows(cut), LOIHI2.core)
        time = LATENCY_MODELS.get("max-core").time(LOIHI2, used_tiles=-(-len(cut.cores) // 4))
        host_s = time.host_packet_s * counts.host_packet.sum()
        busy_s = max(core_time_s(counts, LOIHI2, time).max(), host_s)
        return {
            "energy": remote_packets(problem, cut),
            "latency": float(busy_s + time.barrier_s),
            "cores": float(len(cut.cores)),
        }[goal]

    for goal in get_args(Goal):
        least = min(measured(name, goal) for name in PARTITIONERS if name != "best")
        assert measured("best", goal) == pytest.approx(least)


def test_an_unknown_goal_is_named() -> None:
    with refused(ConfigError, "ADL-CFG-01", where="optimise", remedy="energy, latency, cores"):
        Partition(optimise="speed").run(quantised(small_network()), LOIHI2)


def test_best_does_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDependencyError("gone", where="here", remedy="install", code="ADL-DEP-02")

    monkeypatch.setattr(cutting, "kahypar_engine", missing)
    network = NETWORKS["spatial"]
    with refused(MissingDependencyError, "ADL-DEP-02"):
        Partition(partitioner="hypergraph", neurons_per_core=12).run(network, LOIHI2)
    cut = Partition(neurons_per_core=12).run(network, LOIHI2)
    verify_partition(network, cut)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mtkahypar", None)
    cutting.kahypar_engine.cache_clear()
    with refused(
        MissingDependencyError, "ADL-DEP-02", where="partitioner hypergraph", remedy="balanced"
    ):
        Partition(partitioner="hypergraph", neurons_per_core=12).run(NETWORKS["spatial"], LOIHI2)


def test_what_does_not_fit_its_core_goes_elsewhere() -> None:
    """The cut knows of compartments alone, but a core has few input axons and groups here."""
    network = NETWORKS["spatial"]
    chip = tiny_chip(input_axons=24, compartment_groups=1)
    cut = Partition(partitioner="hypergraph").run(network, chip)
    verify_partition(network, cut)
    assert max(usage.input_axons for usage in cut.usage(chip)) <= 24
    assert max(usage.compartment_groups for usage in cut.usage(chip)) == 1


def cost(edges: list[list[int]], weights: list[int], core_of: np.ndarray) -> int:
    return sum(
        weight * (len({int(core_of[cell]) for cell in edge}) - 1)
        for edge, weight in zip(edges, weights, strict=True)
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_annealing_keeps_capacity_and_never_makes_it_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, cores = 24, 4
    edges = [
        sorted(rng.choice(cells, size=rng.integers(2, 6), replace=False).tolist())
        for _ in range(40)
    ]
    weights = rng.integers(1, 9, len(edges)).tolist()
    sizes = rng.integers(1, 4, cells)
    start = np.arange(cells) % cores
    capacity = int(np.bincount(start, sizes).max()) + int(rng.integers(0, 3))

    def run() -> np.ndarray:
        return annealed(
            edges,
            weights,
            sizes,
            start,
            cores=cores,
            capacity=capacity,
            moves=3000,
            seed=seed % 1000,
        )

    found = run()
    assert np.bincount(found, sizes, cores).max() <= capacity
    assert cost(edges, weights, found) <= cost(edges, weights, start)
    np.testing.assert_array_equal(found, run())


def test_annealing_finds_an_obvious_cut() -> None:
    """Two cliques of six cells, dealt out alternately to two cores."""
    edges = [[a, b] for half in (range(6), range(6, 12)) for a in half for b in half if a < b]
    found = annealed(
        edges,
        [1] * len(edges),
        np.ones(12, np.int64),
        np.arange(12) % 2,
        cores=2,
        capacity=6,
        moves=5000,
        seed=0,
    )
    assert cost(edges, [1] * len(edges), found) == 0


@pytest.mark.parametrize("name", PARTITIONERS.names())
def test_neither_names_nor_their_order_change_the_cost(name: str) -> None:
    """Two branches of different width, told in another order under other names."""
    rng = np.random.default_rng(0)

    def network(order: tuple[int, int], names: tuple[str, str]) -> QuantizedNetwork:
        sizes = {0: 7, 1: 5}
        weights = {n: rng.normal(0, 1, (size, 6)) for n, size in sizes.items()}
        reads = {n: rng.normal(0, 1, (3, size)) for n, size in sizes.items()}
        lif = {"current_decay": 0.25, "voltage_decay": 0.9, "threshold": 1.0}
        populations = [Lif(name=names[n], shape=(sizes[n],), **lif) for n in order]
        ends = [("in", names[n], weights[n]) for n in order]
        ends += [(names[n], "out", reads[n]) for n in order]
        return quantised(
            Network(
                name="branches",
                dt_s=1e-3,
                populations=(
                    Input(name="in", shape=(6,)),
                    *populations,
                    Lif(name="out", shape=(3,), **lif),
                ),
                projections=tuple(
                    Dense(name=f"{source} to {target}", source=source, target=target, weight=weight)
                    for source, target, weight in ends
                ),
                output="out",
            )
        )

    costs = set()
    for order, names in (((0, 1), ("a", "b")), ((1, 0), ("a", "b")), ((0, 1), ("z", "b"))):
        rng = np.random.default_rng(0)
        problem = problem_of(network(order, names), cap=4)
        problem = replace(problem, traffic=TrafficProfile.assumed(problem.network))
        cut = problem.partitioned(PARTITIONERS.get(name)(problem))
        costs.add((len(cut.cores), round(remote_packets(problem, cut), 9)))
    assert len(costs) == 1
