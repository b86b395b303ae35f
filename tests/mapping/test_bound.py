from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.networks import digits_like_network

from mapping.ir.partitioned import HOST
from mapping.ir.placed import slot_at
from mapping.ir.routed import Routing
from mapping.passes.bound import degree_bound
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.spec import MeshSpec

MESHES = {
    "2x2x1": tiny_chip(width=2, height=2, cores_per_tile=1).mesh,
    "5x1x1": tiny_chip(width=5, height=1, cores_per_tile=1, host_tile=(2, 0)).mesh,
    "2x1x3": tiny_chip(width=2, height=1, cores_per_tile=3, host_tile=(1, 0)).mesh,
    "3x2x1": tiny_chip(width=3, height=2, cores_per_tile=1, host_tile=(1, 1)).mesh,
    "two chips": tiny_chip(width=1, height=2, cores_per_tile=1, chips=(2, 1)).mesh,
    "1x1x4": tiny_chip(width=1, height=1, cores_per_tile=4).mesh,
}
Flows = dict[tuple[int, int], float]


def routing_of(flows: Flows) -> tuple[Routing, np.ndarray]:
    """Flows without their routes, which the bound does not look at, and their packets."""
    pairs = sorted(flows)
    return (
        Routing(
            source=np.array([s for s, _ in pairs]),
            target=np.array([t for _, t in pairs]),
            offsets=np.zeros(len(pairs) + 1),
            links=np.zeros(0),
        ),
        np.array([flows[pair] for pair in pairs]),
    )


def fewest_hops(flows: Flows, cores: int, mesh: MeshSpec) -> float:
    """The best of all placements."""
    slots = [slot_at(n, mesh) for n in range(mesh.width * mesh.height * mesh.cores_per_tile)]
    best = np.inf
    for chosen in permutations([(s.x, s.y) for s in slots], cores):
        tiles = {HOST: mesh.host_tile, **dict(enumerate(chosen))}
        hops = sum(
            amount * (abs(tiles[a][0] - tiles[b][0]) + abs(tiles[a][1] - tiles[b][1]))
            for (a, b), amount in flows.items()
        )
        best = min(best, hops)
    return float(best)


@st.composite
def traffic(draw: st.DrawFn) -> tuple[Flows, int, MeshSpec]:
    """Random flows between up to five cores and the host, on a mesh that holds them."""
    mesh = MESHES[draw(st.sampled_from(sorted(MESHES)))]
    slots = mesh.width * mesh.height * mesh.cores_per_tile
    cores = draw(st.integers(1, min(5, slots)))
    pairs = [(s, t) for s in range(HOST, cores) for t in range(cores)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1))
    return {pair: draw(st.floats(0, 10)) for pair in chosen}, cores, mesh


@settings(max_examples=80)
@given(case=traffic())
def test_no_placement_beats_the_bound(case: tuple[Flows, int, MeshSpec]) -> None:
    flows, cores, mesh = case
    bound = degree_bound(*routing_of(flows), mesh)
    assert 0 <= bound <= fewest_hops(flows, cores, mesh) + 1e-9


def test_traffic_that_fits_a_tile_needs_no_hop() -> None:
    flows = {(HOST, 0): 5.0, (0, 1): 3.0, (1, 0): 2.0, (2, 2): 9.0}
    assert degree_bound(*routing_of(flows), MESHES["1x1x4"]) == 0.0


def test_the_bound_is_reached_by_a_star() -> None:
    """One core in the middle of four others, each a hop away, on tiles of one core."""
    star = {(0, leaf): 1.0 for leaf in range(1, 5)}
    mesh = tiny_chip(width=3, height=3, cores_per_tile=1).mesh
    assert degree_bound(*routing_of(star), mesh) == pytest.approx(0.5 * 4 + 0.5 * 4)


def test_the_host_pushes_cores_away_from_its_tile() -> None:
    """A corner with one core: its listeners lie 0, 1, 1, 2 hops away, the busiest nearest."""
    flows = {(HOST, core): amount for core, amount in enumerate([1.0, 8.0, 2.0, 4.0])}
    assert degree_bound(*routing_of(flows), MESHES["2x2x1"]) == 0 * 8 + 1 * 4 + 1 * 2 + 2 * 1
    assert fewest_hops(flows, 4, MESHES["2x2x1"]) == 8.0


def test_both_directions_between_two_cores_add_up() -> None:
    mesh = MESHES["5x1x1"]
    assert degree_bound(*routing_of({(0, 1): 2.0, (1, 0): 3.0}), mesh) == 5.0


@pytest.mark.parametrize("per_core", [4, 8, 30])
def test_the_compiler_never_reports_fewer_hops_than_the_bound(per_core: int) -> None:
    chip = tiny_chip(width=4, height=4, cores_per_tile=2)
    result = compile_network(digits_like_network(), chip, CompileOptions(neurons_per_core=per_core))
    noc = result.report["noc"]
    assert isinstance(noc, dict)
    assert 0 <= noc["lower_bound"] <= noc["hops_per_step"]
    assert 0 <= noc["gap"] <= 1
