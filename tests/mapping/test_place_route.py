from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.networks import dense_network, digits_like_network, recurrent_network

from mapping.errors import ConfigError, PlacementError, RoutingError
from mapping.ir.network import Network
from mapping.ir.partitioned import HOST, PartitionedNetwork
from mapping.ir.placed import CoreSlot, Placement, slot_at
from mapping.ir.routed import DIRECTIONS, Routing, link_ends
from mapping.ir.verify import verify_placement, verify_routing
from mapping.passes.partition import Partition
from mapping.passes.place import PLACERS, Place
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.passes.route import Route, packet_flows, xy_path
from mapping.targets.spec import ChipSpec, MeshSpec

MESH = tiny_chip(width=4, height=3, cores_per_tile=2).mesh
TILES = [(x, y) for y in range(MESH.height) for x in range(MESH.width)]


def cut(network: Network, chip: ChipSpec, per_core: int) -> PartitionedNetwork:
    """``network`` in core programs of ``per_core`` neurons."""
    image = Quantize().run(realise_factors(network), chip)
    return Partition(neurons_per_core=per_core).run(image, chip)


def routed(
    network: Network, chip: ChipSpec, per_core: int
) -> tuple[PartitionedNetwork, Placement, Routing]:
    """The result of all passes."""
    partitioned = cut(network, chip, per_core)
    placement = Place().run(partitioned, chip)
    return partitioned, placement, Route().run(partitioned, placement, chip)


def distance(a: tuple[int, int], b: tuple[int, int]) -> int:
    """Manhattan distance."""
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def test_raster_fills_a_tile_then_x_then_y() -> None:
    chip = tiny_chip(width=2, height=2, cores_per_tile=2)
    placement = Place(placer="raster").run(cut(dense_network((3, 4, 4)), chip, 1), chip)
    assert [(s.x, s.y, s.core) for s in placement.slots] == [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (1, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
        (1, 1, 0),
        (1, 1, 1),
    ]
    assert placement.used_tiles() == 4
    assert {s.chip for s in placement.slots} == {0}


@given(width=st.integers(1, 5), height=st.integers(1, 5), cores=st.integers(1, 4), data=st.data())
def test_slots_number_every_core_of_the_mesh_once(
    width: int, height: int, cores: int, data: st.DataObject
) -> None:
    mesh = tiny_chip(width=width, height=height, cores_per_tile=cores).mesh
    slots = [slot_at(number, mesh) for number in range(width * height * cores)]
    assert slots == sorted(slots)
    assert {(s.x, s.y, s.core) for s in slots} == {
        (x, y, core) for x in range(width) for y in range(height) for core in range(cores)
    }


def test_used_tiles_counts_tiles_not_cores() -> None:
    slots = (CoreSlot(chip=0, x=0, y=0, core=0), CoreSlot(chip=0, x=0, y=0, core=3))
    assert Placement(slots=slots).used_tiles() == 1


def test_more_programs_than_cores_are_refused() -> None:
    partitioned = cut(dense_network((3, 4, 4)), tiny_chip(), 1)
    small = tiny_chip(width=1, height=1)
    with refused(
        PlacementError, "ADL-PLC-01", where="chain", message="8 core programs", remedy="rank"
    ):
        Place().run(partitioned, small)


def test_an_unknown_placer_suggests_the_nearest() -> None:
    partitioned = cut(dense_network(), tiny_chip(), 5)
    with refused(ConfigError, "ADL-CFG-01", where="placer", remedy="did you mean 'raster'"):
        Place(placer="rasta").run(partitioned, tiny_chip())


def test_a_shared_slot_is_our_own_mistake() -> None:
    partitioned = cut(dense_network((3, 4)), tiny_chip(), 2)
    slot = PLACERS.get("raster")(partitioned, tiny_chip(), 0)[0]
    with pytest.raises(AssertionError, match="share"):
        verify_placement(partitioned, Placement(slots=(slot, slot)))


@given(source=st.sampled_from(TILES), target=st.sampled_from(TILES))
def test_a_path_is_connected_shortest_and_turns_once(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    path = xy_path(source, target, MESH)
    assert len(path) == len(set(path)) == distance(source, target)
    here = source
    for link in path:
        start, stop = link_ends(link, MESH)
        assert start == here
        assert distance(start, stop) == 1
        assert 0 <= stop[0] < MESH.width
        assert 0 <= stop[1] < MESH.height
        here = stop
    assert here == target
    along_y = [link % 4 >= 2 for link in path]
    assert along_y == sorted(along_y)


@given(source=st.sampled_from(TILES), target=st.sampled_from(TILES))
def test_there_and_back_share_no_link(source: tuple[int, int], target: tuple[int, int]) -> None:
    assert not set(xy_path(source, target, MESH)) & set(xy_path(target, source, MESH))


@given(tile=st.integers(0, len(TILES) - 1), direction=st.integers(0, 3))
def test_a_link_joins_neighbours(tile: int, direction: int) -> None:
    start, stop = link_ends(4 * tile + direction, MESH)
    assert start == TILES[tile]
    assert (stop[0] - start[0], stop[1] - start[1]) == DIRECTIONS[direction]


def spelt_out_flows(partitioned: PartitionedNetwork) -> set[tuple[int, int]]:
    """Sender and receiver of every synapse."""
    home = {
        (group.population, number): core
        for core, program in enumerate(partitioned.cores)
        for group in program.groups
        for number in range(group.start, group.stop)
    }
    return {
        (home.get((spec.source, column), HOST), core)
        for core, program in enumerate(partitioned.cores)
        for tile in program.tiles
        for spec in [partitioned.projections[tile.projection]]
        for column in range(spec.source_start, spec.source_stop)
    }


CASES = [
    (dense_network((3, 4, 4)), 1, (0, 0)),
    (recurrent_network(), 2, (3, 2)),
    (digits_like_network(rank=8, levels=(3, 8), hidden=20), 3, (1, 1)),
]


@pytest.mark.parametrize(("network", "per_core", "host"), CASES)
def test_routes_join_exactly_the_cores_that_talk(
    network: Network, per_core: int, host: tuple[int, int]
) -> None:
    chip = tiny_chip(width=4, height=3, cores_per_tile=2, host_tile=host)
    partitioned, placement, routing = routed(network, chip, per_core)
    flows = list(zip(routing.source.tolist(), routing.target.tolist(), strict=True))
    assert set(flows) == spelt_out_flows(partitioned)
    assert flows == sorted(flows) == packet_flows(partitioned)
    assert routing.flows == len(flows)
    tiles = {core: (slot.x, slot.y) for core, slot in enumerate(placement.slots)} | {HOST: host}
    for flow, (source, target) in enumerate(flows):
        assert routing.path(flow).tolist() == xy_path(tiles[source], tiles[target], chip.mesh)
    verify_routing(placement, routing, chip.mesh)


@pytest.mark.parametrize(("network", "per_core", "host"), CASES)
def test_hops_are_the_distances_along_x_and_y(
    network: Network, per_core: int, host: tuple[int, int]
) -> None:
    chip = tiny_chip(width=4, height=3, cores_per_tile=2, host_tile=host)
    _, placement, routing = routed(network, chip, per_core)
    tiles = {core: (slot.x, slot.y) for core, slot in enumerate(placement.slots)} | {HOST: host}
    east_west, north_south = routing.hops()
    for flow in range(routing.flows):
        a, b = tiles[int(routing.source[flow])], tiles[int(routing.target[flow])]
        assert (east_west[flow], north_south[flow]) == (abs(a[0] - b[0]), abs(a[1] - b[1]))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), case=st.sampled_from(CASES))
def test_link_loads_are_the_packets_that_pass(
    seed: int, case: tuple[Network, int, tuple[int, int]]
) -> None:
    network, per_core, host = case
    chip = tiny_chip(width=4, height=3, cores_per_tile=2, host_tile=host)
    _, placement, routing = routed(network, chip, per_core)
    packets = np.random.default_rng(seed).uniform(0, 9, routing.flows)
    passed = Counter[tuple[tuple[int, int], tuple[int, int]]]()
    tiles = {core: (slot.x, slot.y) for core, slot in enumerate(placement.slots)} | {HOST: host}
    for flow in range(routing.flows):
        x, y = tiles[int(routing.source[flow])]
        to_x, to_y = tiles[int(routing.target[flow])]
        while (x, y) != (to_x, to_y):
            step_x = (to_x > x) - (to_x < x)
            step_y = 0 if step_x else (to_y > y) - (to_y < y)
            passed[(x, y), (x + step_x, y + step_y)] += packets[flow]
            x, y = x + step_x, y + step_y
    loads = routing.link_loads(packets, chip.mesh)
    assert loads.shape == (4 * chip.tiles,)
    for link, load in enumerate(loads):
        assert load == pytest.approx(passed[link_ends(link, chip.mesh)])
    assert loads.sum() == pytest.approx(sum(passed.values()))


def test_everything_on_one_tile_crosses_no_link() -> None:
    chip = tiny_chip(width=1, height=1, cores_per_tile=8)
    _, _, routing = routed(dense_network((3, 4, 4)), chip, 1)
    assert routing.links.size == 0
    assert routing.hops()[0].tolist() == [0] * routing.flows
    assert routing.link_loads(np.ones(routing.flows), chip.mesh).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("x", "y", "chip_number"), [(4, 0, 0), (0, 3, 0), (-1, 0, 0), (0, -1, 0), (0, 0, 1)]
)
def test_a_core_off_the_mesh_cannot_be_routed(x: int, y: int, chip_number: int) -> None:
    chip = tiny_chip(width=4, height=3, cores_per_tile=2)
    partitioned, placement, _ = routed(dense_network((3, 4, 4)), chip, 4)
    stray = replace(placement.slots[1], x=x, y=y, chip=chip_number)
    with refused(
        RoutingError, "ADL-RTE-01", where="core 1", message=f"({x}, {y})", remedy="placer"
    ):
        Route().run(partitioned, Placement(slots=(placement.slots[0], stray)), chip)


def _path_between_opposite_corners(*links: int) -> tuple[Placement, Routing, MeshSpec]:
    """A flow from tile (0, 0) to tile (1, 1); 0 leads east and 2 south, 6 and 8 on from there."""
    mesh = tiny_chip(width=2, height=2, cores_per_tile=1).mesh
    placement = Placement(slots=(slot_at(0, mesh), slot_at(3, mesh)))
    routing = Routing(
        source=np.array([0]),
        target=np.array([1]),
        offsets=np.array([0, len(links)]),
        links=np.array(links),
    )
    return placement, routing, mesh


def test_the_verifier_accepts_x_before_y() -> None:
    verify_routing(*_path_between_opposite_corners(0, 6))


@pytest.mark.parametrize("links", [(2, 8), (0,), (0, 8), (), (0, 5, 0, 6)])
def test_the_verifier_rejects_any_other_path(links: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        verify_routing(*_path_between_opposite_corners(*links))
