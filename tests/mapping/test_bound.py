from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.networks import digits_like_network

from mapping.ir.partitioned import HOST
from mapping.pipeline import CompileOptions, compile_network
from mapping.placement import bound as bounds
from mapping.placement.bound import BOUNDS, degree_bound, lower_bound, spectral_bound, town_bound
from mapping.placement.problem import PLACERS, PlacementProblem, Search
from mapping.targets.figures import Faults
from mapping.targets.spec import ChipSpec

BROKEN = Faults(cores=((0, 1, 0, 0),), links=(), status="assumed", source="made up for a test")
CHIPS = {
    "2x2x1": tiny_chip(width=2, height=2, cores_per_tile=1),
    "5x1x1": tiny_chip(width=5, height=1, cores_per_tile=1, host_tile=(2, 0)),
    "2x1x3": tiny_chip(width=2, height=1, cores_per_tile=3, host_tile=(1, 0)),
    "3x2x1": tiny_chip(width=3, height=2, cores_per_tile=1, host_tile=(1, 1)),
    "two chips": tiny_chip(width=1, height=2, cores_per_tile=1, chips=(2, 1)),
    "1x1x4": tiny_chip(width=1, height=1, cores_per_tile=4),
}
CHIPS["broken"] = replace(CHIPS["3x2x1"], mesh=replace(CHIPS["3x2x1"].mesh, faulty=BROKEN))
Flows = dict[tuple[int, int], float]


def problem_of(flows: Flows, cores: int, chip: ChipSpec) -> PlacementProblem:
    """A problem in which hops cost their energy."""
    pairs = np.array(sorted(flows), np.int32).reshape(-1, 2)
    packets = np.array([flows[pair] for pair in sorted(flows)], np.float64)
    return PlacementProblem.on_chip(chip, cores, pairs, packets)


def cheapest(problem: PlacementProblem) -> float:
    """The best of all placements."""
    numbers = range(len(problem.slot_tiles))
    return min(
        problem.cost(np.array(slots, np.int32)) for slots in permutations(numbers, problem.nodes)
    )


@st.composite
def traffic(draw: st.DrawFn) -> PlacementProblem:
    """Random flows between up to five cores and the host, on a mesh that holds them."""
    chip = CHIPS[draw(st.sampled_from(sorted(CHIPS)))]
    cores = draw(st.integers(1, min(5, chip.cores)))
    pairs = [(s, t) for s in range(HOST, cores) for t in range(cores)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1))
    problem = problem_of({pair: draw(st.floats(0, 10)) for pair in chosen}, cores, chip)
    return problem.in_hops() if draw(st.booleans()) else problem


@pytest.mark.parametrize("exact", [True, False])
@settings(max_examples=80)
@given(problem=traffic())
def test_no_placement_beats_a_bound(exact: bool, problem: PlacementProblem) -> None:
    best = cheapest(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "EXACT_TILES", 1024 if exact else 0)
        for bound in BOUNDS.values():
            assert 0 <= bound(problem) <= best * (1 + 1e-9) + 1e-12
        chosen = lower_bound(problem)
        assert chosen.value == max(bound(problem) for bound in BOUNDS.values())


def test_traffic_that_fits_a_tile_needs_no_hop() -> None:
    flows = {(HOST, 0): 5.0, (0, 1): 3.0, (1, 0): 2.0, (2, 2): 9.0}
    assert lower_bound(problem_of(flows, 3, CHIPS["1x1x4"])).value == 0.0


@pytest.mark.parametrize("tiles", [0, 1024])
def test_the_degree_bound_counts_rings_of_tiles(
    tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One core among eight others, of which four are a hop away and four two hops."""
    monkeypatch.setattr(bounds, "EXACT_TILES", tiles)
    star = {(0, leaf): 1.0 for leaf in range(1, 9)}
    chip = tiny_chip(width=3, height=3, cores_per_tile=1)
    found = degree_bound(problem_of(star, 9, chip).in_hops())
    assert found == pytest.approx(0.5 * (4 + 8) + 0.5 * 8)


def test_the_host_pushes_cores_away_from_its_tile() -> None:
    """A corner with one core: its listeners lie 0, 1, 1, 2 hops away, the busiest nearest."""
    flows = {(HOST, core): amount for core, amount in enumerate([1.0, 8.0, 2.0, 4.0])}
    problem = problem_of(flows, 4, CHIPS["2x2x1"]).in_hops()
    assert degree_bound(problem) == 0 * 8 + 1 * 4 + 1 * 2 + 2 * 1
    assert cheapest(problem) == 8.0


def test_a_broken_core_pushes_cores_away() -> None:
    """Of the tiles beside the host's, (1, 0) is broken; two listeners more than one hop away."""
    flows = {(HOST, core): 1.0 for core in range(5)}
    sound = degree_bound(problem_of(flows, 5, CHIPS["3x2x1"]).in_hops())
    assert sound == 0 + 1 + 1 + 1 + 2
    assert degree_bound(problem_of(flows, 5, CHIPS["broken"]).in_hops()) == 0 + 1 + 1 + 2 + 2


def test_both_directions_between_two_cores_add_up() -> None:
    problem = problem_of({(0, 1): 2.0, (1, 0): 3.0}, 2, CHIPS["5x1x1"]).in_hops()
    assert degree_bound(problem) == 5.0


def test_the_spectral_bound_is_higher_where_all_talk_to_all() -> None:
    """A complete graph on a line: λ₂ = 6, each of 5 lines cuts k (6 - k), which is exact."""
    chip = tiny_chip(width=6, height=1, cores_per_tile=1)
    flows = {(a, b): 1.0 for a in range(6) for b in range(a)}
    problem = problem_of(flows, 6, chip).in_hops()
    assert spectral_bound(problem) == pytest.approx(5 + 8 + 9 + 8 + 5)
    assert lower_bound(problem).name == "spectral"
    assert cheapest(problem) == 35.0


@settings(max_examples=30)
@given(
    chip=st.sampled_from(sorted(CHIPS)),
    senders=st.integers(1, 3),
    extra=st.floats(0, 1),
    hosted=st.booleans(),
)
def test_no_placement_beats_the_bounds_of_all_to_all(
    chip: str, senders: int, extra: float, hosted: bool
) -> None:
    nodes = min(6, CHIPS[chip].cores)
    senders = min(senders, nodes - 1)
    flows = {(a, b): 1.0 + extra * a for a in range(senders) for b in range(senders, nodes)}
    flows |= {(HOST, 0): 0.5} if hosted else {}
    problem = problem_of(flows, nodes, CHIPS[chip])
    best = cheapest(problem)
    for bound in BOUNDS.values():
        assert bound(problem) <= best * (1 + 1e-9)


@pytest.mark.parametrize(("side", "per_tile"), [(16, 1), (12, 4), (24, 1)])
def test_the_town_bound_is_higher_for_two_layers_and_below_a_good_placement(
    side: int, per_tile: int
) -> None:
    """Two layers joined all to all, which fill the mesh: the best known lie mixed in a town."""
    chip = tiny_chip(
        width=side, height=side, cores_per_tile=per_tile, usable_cores=side * side * per_tile
    )
    nodes = side * side * per_tile // 2
    half = nodes // 2
    pairs = np.stack(np.divmod(np.arange(half * half), half), axis=1) + np.array([0, half])
    problem = PlacementProblem.on_chip(chip, nodes, pairs.astype(np.int32), np.ones(len(pairs)))
    problem = problem.in_hops()
    found = problem.cost(PLACERS.get("anneal")(problem, Search()))
    assert 1.1 * degree_bound(problem) < town_bound(problem) < found < 1.3 * town_bound(problem)
    assert lower_bound(problem).name == "town"


@pytest.mark.parametrize("per_core", [4, 8, 30])
def test_the_compiler_never_reports_fewer_hops_than_the_bound(per_core: int) -> None:
    chip = tiny_chip(width=4, height=4, cores_per_tile=2)
    result = compile_network(digits_like_network(), chip, CompileOptions(neurons_per_core=per_core))
    noc = result.report["noc"]
    assert isinstance(noc, dict)
    assert 0 <= noc["lower_bound"] <= noc["hops_per_step"]
    assert 0 <= noc["gap"] <= 1
    assert noc["bound"] in BOUNDS
