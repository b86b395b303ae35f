from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.mesh_paths import xy_path
from support.networks import dense_network, digits_like_network, recurrent_network
from support.spatial import spatial_network

from mapping.errors import ConfigError, PlacementError, RoutingError
from mapping.ir.multicast import multicast_loads
from mapping.ir.network import Network
from mapping.ir.partitioned import HOST, PartitionedNetwork, packet_flows
from mapping.ir.placed import CoreSlot, Placement, slot_at
from mapping.ir.routed import DIRECTIONS, Routing, link_ends, xy_links
from mapping.ir.traffic import TrafficProfile
from mapping.ir.verify import verify_placement, verify_routing
from mapping.passes.partition import Partition
from mapping.passes.place import Place
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.passes.route import Route
from mapping.targets.figures import Faults
from mapping.targets.spec import ChipSpec, MeshSpec

CHIPS = {
    "one": tiny_chip(width=4, height=3, cores_per_tile=2, host_tile=(1, 1)),
    "row": tiny_chip(width=2, height=3, cores_per_tile=2, chips=(4, 1), usable_cores=7),
    "grid": tiny_chip(width=2, height=1, cores_per_tile=2, chips=(2, 4), host_tile=(1, 0)),
    "tiles": tiny_chip(width=1, height=1, cores_per_tile=3, chips=(5, 3), usable_cores=2),
}


@st.composite
def pairs_of_tiles(draw: st.DrawFn) -> tuple[MeshSpec, tuple[int, int], tuple[int, int]]:
    """A mesh, of one chip or of several, and two of its tiles by column and row."""
    mesh = draw(st.sampled_from(list(CHIPS.values()))).mesh
    tiles = st.tuples(st.integers(0, mesh.columns - 1), st.integers(0, mesh.rows - 1))
    return mesh, draw(tiles), draw(tiles)


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


def tiles_of(placement: Placement, mesh: MeshSpec) -> dict[int, tuple[int, int]]:
    """Column and row of the tile of every core program and of the host."""
    slots = enumerate(placement.slots)
    return {core: mesh.tile(slot.chip, slot.x, slot.y) for core, slot in slots} | {
        HOST: mesh.host_tile
    }


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


@given(
    width=st.integers(1, 5),
    height=st.integers(1, 5),
    cores=st.integers(1, 4),
    chips=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_slots_number_every_core_of_the_mesh_once(
    width: int, height: int, cores: int, chips: tuple[int, int]
) -> None:
    chip = tiny_chip(width=width, height=height, cores_per_tile=cores, chips=chips)
    slots = [slot_at(number, chip.mesh) for number in range(chip.cores)]
    assert slots == sorted(slots)
    assert {(s.chip, s.x, s.y, s.core) for s in slots} == {
        (number, x, y, core)
        for number in range(chips[0] * chips[1])
        for x in range(width)
        for y in range(height)
        for core in range(cores)
    }
    assert all(slot.on_mesh(chip.mesh) for slot in slots)
    tiles = {slot.tile(chip.mesh) for slot in slots}
    assert tiles == {(x, y) for x in range(width * chips[0]) for y in range(height * chips[1])}
    assert {(s.chip, s.x, s.y) for s in slots} == {chip.mesh.on_chip(*tile) for tile in tiles}


def test_raster_leaves_a_chip_once_its_usable_cores_are_taken() -> None:
    chip = tiny_chip(width=2, height=1, cores_per_tile=2, usable_cores=3, chips=(2, 2))
    assert (chip.cores, chip.tiles) == (12, 8)
    placement = Place(placer="raster").run(cut(dense_network((3, 4, 4)), chip, 1), chip)
    assert [(s.chip, s.x, s.core) for s in placement.slots] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (1, 0, 0),
        (1, 0, 1),
        (1, 1, 0),
        (2, 0, 0),
        (2, 0, 1),
    ]
    assert [s.tile(chip.mesh) for s in placement.slots[::3]] == [(0, 0), (2, 0), (0, 1)]
    assert (placement.used_chips(), placement.used_tiles()) == (3, 5)


def test_used_tiles_and_chips_count_no_core_twice() -> None:
    slots = [CoreSlot(chip=0, x=0, y=0, core=core) for core in (0, 3)]
    assert Placement(slots=tuple(slots)).used_tiles() == 1
    slots.append(CoreSlot(chip=2, x=0, y=0, core=0))
    placement = Placement(slots=tuple(slots))
    assert (placement.used_tiles(), placement.used_chips()) == (2, 2)
    assert placement.same_tile(0, 1)
    assert not placement.same_tile(0, 2)


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
    slot = slot_at(0, tiny_chip().mesh)
    with pytest.raises(AssertionError, match="share"):
        verify_placement(partitioned, Placement(slots=(slot, slot)))


@given(case=pairs_of_tiles())
def test_a_path_is_connected_shortest_and_turns_once(
    case: tuple[MeshSpec, tuple[int, int], tuple[int, int]],
) -> None:
    mesh, source, target = case
    path = xy_path(source, target, mesh)
    assert len(path) == len(set(path)) == distance(source, target)
    here = source
    for link in path:
        start, stop = link_ends(link, mesh)
        assert start == here
        assert distance(start, stop) == 1
        assert 0 <= stop[0] < mesh.columns
        assert 0 <= stop[1] < mesh.rows
        here = stop
    assert here == target
    along_y = [link % 4 >= 2 for link in path]
    assert along_y == sorted(along_y)


@given(case=pairs_of_tiles())
def test_there_and_back_share_no_link(
    case: tuple[MeshSpec, tuple[int, int], tuple[int, int]],
) -> None:
    mesh, source, target = case
    assert not set(xy_path(source, target, mesh)) & set(xy_path(target, source, mesh))


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("direction", range(4))
def test_a_link_joins_neighbours(name: str, direction: int) -> None:
    mesh = CHIPS[name].mesh
    for tile, (x, y) in enumerate((x, y) for y in range(mesh.rows) for x in range(mesh.columns)):
        start, stop = link_ends(4 * tile + direction, mesh)
        assert start == (x, y)
        assert (stop[0] - start[0], stop[1] - start[1]) == DIRECTIONS[direction]


@given(case=pairs_of_tiles())
def test_a_hop_is_along_x_or_y_or_from_chip_to_chip(
    case: tuple[MeshSpec, tuple[int, int], tuple[int, int]],
) -> None:
    """Every link of a path counts once; on the way the chip changes as often as is counted."""
    mesh, source, target = case
    path = xy_path(source, target, mesh)
    both = Routing(
        source=np.array([HOST, HOST]),
        target=np.array([0, 1]),
        offsets=np.array([0, len(path), len(path)]),
        links=np.array(path),
    )
    hops = both.hops(mesh)
    assert [int(kind[1]) for kind in (hops.east_west, hops.north_south, hops.chip)] == [0, 0, 0]
    chips = [mesh.on_chip(*link_ends(link, mesh)[0])[0] for link in path]
    chips.append(mesh.on_chip(*target)[0])
    assert hops.chip[0] == sum(one != other for one, other in pairwise(chips))
    between_x = abs(source[0] // mesh.width - target[0] // mesh.width)
    between_y = abs(source[1] // mesh.height - target[1] // mesh.height)
    assert hops.chip[0] == between_x + between_y
    assert hops.east_west[0] == abs(source[0] - target[0]) - between_x
    assert hops.north_south[0] == abs(source[1] - target[1]) - between_y


def spelt_out_flows(partitioned: PartitionedNetwork) -> set[tuple[int, int]]:
    """Sender and receiver of every synapse."""
    home = {
        (group.population, number): core
        for core, program in enumerate(partitioned.cores)
        for group in program.groups
        for number in group.members.tolist()
    }
    return {
        (home.get((spec.source, column), HOST), core)
        for core, program in enumerate(partitioned.cores)
        for tile in program.tiles
        for spec in [partitioned.projections[tile.projection]]
        for column in range(spec.source_start, spec.source_stop)
    }


CASES = [
    (dense_network((3, 4, 4)), 1),
    (recurrent_network(), 2),
    (digits_like_network(rank=8, levels=(3, 8), hidden=20), 3),
]


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize(("network", "per_core"), CASES)
def test_routes_join_exactly_the_cores_that_talk(
    network: Network, per_core: int, name: str
) -> None:
    chip = CHIPS[name]
    partitioned, placement, routing = routed(network, chip, per_core)
    flows = list(zip(routing.source.tolist(), routing.target.tolist(), strict=True))
    assert set(flows) == spelt_out_flows(partitioned)
    assert flows == sorted(flows) == packet_flows(partitioned)
    assert routing.flows == len(flows)
    tiles = tiles_of(placement, chip.mesh)
    for flow, (source, target) in enumerate(flows):
        assert routing.path(flow).tolist() == xy_path(tiles[source], tiles[target], chip.mesh)
    verify_routing(placement, routing, chip.mesh)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize(("network", "per_core"), CASES)
def test_hops_are_the_distances(network: Network, per_core: int, name: str) -> None:
    chip = CHIPS[name]
    _, placement, routing = routed(network, chip, per_core)
    tiles = tiles_of(placement, chip.mesh)
    hops = routing.hops(chip.mesh)
    for flow in range(routing.flows):
        a, b = tiles[int(routing.source[flow])], tiles[int(routing.target[flow])]
        total = hops.east_west[flow] + hops.north_south[flow] + hops.chip[flow]
        assert total == distance(a, b)
        if name == "one":
            assert (hops.east_west[flow], hops.chip[flow]) == (abs(a[0] - b[0]), 0)
    assert hops.chip.any() == (placement.used_chips() > 1)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    case=st.sampled_from(CASES),
    chip=st.sampled_from(list(CHIPS.values())),
)
def test_link_loads_are_the_packets_that_pass(
    seed: int, case: tuple[Network, int], chip: ChipSpec
) -> None:
    network, per_core = case
    _, placement, routing = routed(network, chip, per_core)
    packets = np.random.default_rng(seed).uniform(0, 9, routing.flows)
    passed = Counter[tuple[tuple[int, int], tuple[int, int]]]()
    tiles = tiles_of(placement, chip.mesh)
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
    assert routing.hops(chip.mesh).east_west.tolist() == [0] * routing.flows
    assert routing.link_loads(np.ones(routing.flows), chip.mesh).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("x", "y", "chip_number"),
    [(4, 0, 0), (0, 3, 0), (-1, 0, 0), (0, -1, 0), (0, 0, 2), (0, 0, -1), (4, 0, 1)],
)
def test_a_core_off_the_mesh_cannot_be_routed(x: int, y: int, chip_number: int) -> None:
    """Not even if the tile of another chip lies there."""
    chip = tiny_chip(width=4, height=3, cores_per_tile=2, chips=(2, 1))
    partitioned, placement, _ = routed(dense_network((3, 4, 4)), chip, 4)
    stray = replace(placement.slots[1], x=x, y=y, chip=chip_number)
    with refused(
        RoutingError,
        "ADL-RTE-01",
        where="core 1",
        message=f"({x}, {y}) of chip {chip_number}, is off the mesh: 2 chips of 4 × 3",
        remedy="placer",
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


def test_the_verifier_follows_a_path_over_chips() -> None:
    """Column 1 belongs to the second chip, row 1 to the third: links 0 and 6 as on one chip."""
    mesh = tiny_chip(width=1, height=1, cores_per_tile=1, chips=(2, 2)).mesh
    _, routing, _ = _path_between_opposite_corners(0, 6)
    one, other, opposite = (CoreSlot(chip=c, x=0, y=0, core=0) for c in (0, 2, 3))
    verify_routing(Placement(slots=(one, opposite)), routing, mesh)
    with pytest.raises(AssertionError):
        verify_routing(Placement(slots=(one, other)), routing, mesh)


@pytest.mark.parametrize("links", [(2, 8), (0,), (0, 8), (), (0, 5, 0, 6)])
def test_the_verifier_rejects_any_other_path(links: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        verify_routing(*_path_between_opposite_corners(*links))


def test_a_route_over_a_faulty_link_is_refused() -> None:
    """Two cores in a row and the link between them is broken, which raster order cannot see."""
    chip = tiny_chip(width=2, height=1, cores_per_tile=1)
    faults = Faults(cores=(), links=((0, 0, "east"),), status="assumed", source="made up")
    chip = replace(chip, mesh=replace(chip.mesh, faulty=faults))
    partitioned = cut(dense_network((3, 4, 4)), chip, 4)
    placement = Place(placer="raster").run(partitioned, chip)
    with refused(
        RoutingError,
        "ADL-RTE-02",
        where="flow",
        message="the faulty link from tile (0, 0) to (1, 0)",
        remedy="anneal",
    ):
        Route().run(partitioned, placement, chip)


def test_a_time_limit_is_positive() -> None:
    partitioned = cut(dense_network(), tiny_chip(), 5)
    for limit in (0.0, -1.0, float("nan")):
        with refused(ConfigError, "ADL-PLC-02", where="time_limit_s", remedy="positive"):
            Place(time_limit_s=limit).run(partitioned, tiny_chip())


@given(case=pairs_of_tiles(), more=pairs_of_tiles())
def test_all_routes_at_once_are_the_routes_one_by_one(
    case: tuple[MeshSpec, tuple[int, int], tuple[int, int]],
    more: tuple[MeshSpec, tuple[int, int], tuple[int, int]],
) -> None:
    mesh, source, target = case
    columns, rows = mesh.columns, mesh.rows
    pairs = [(source, target), (target, source), (source, source)]
    pairs += [((x % columns, y % rows), target) for x, y in more[1:]]
    starts, stops = (np.array(ends, np.int32) for ends in zip(*pairs, strict=True))
    offsets, links = xy_links(starts, stops, mesh)
    paths = [xy_path(a, b, mesh) for a, b in pairs]
    assert links.tolist() == [link for path in paths for link in path]
    assert offsets.tolist() == np.cumsum([0, *map(len, paths)]).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("floats", "cap"), [(spatial_network(), 9), (dense_network((9, 8, 8), recurrent=True), 2)]
)
def test_a_multicast_tree_crosses_each_link_once(floats: Network, cap: int, seed: int) -> None:
    chip = tiny_chip(width=4, height=4, cores_per_tile=1)
    network = Quantize().run(floats, chip)
    partitioned = Partition(partitioner="balanced", neurons_per_core=cap).run(network, chip)
    placement = Place(seed=seed).run(partitioned, chip)
    routing = Route().run(partitioned, placement, chip)
    traffic = TrafficProfile.assumed(network)
    rng = np.random.default_rng(seed)
    traffic = replace(traffic, rates={n: rng.random(r.size) for n, r in traffic.rates.items()})
    expected = np.zeros(4 * chip.tiles)
    flow_of = {pair: flow for flow, pair in enumerate(routing.pairs())}
    for source, destinations in partitioned.destinations.items():
        for member, rate in enumerate(traffic.rates[source]):
            sender = int(partitioned.homes[source][member])
            links = {
                link
                for to in destinations
                if member in to.members
                for link in routing.path(flow_of[sender, to.core]).tolist()
            }
            expected[sorted(links)] += rate
    loads = multicast_loads(partitioned, routing, traffic, chip.mesh)
    np.testing.assert_allclose(loads, expected)
    packets = traffic.flow_packets(partitioned, routing.pairs())
    unicast = routing.link_loads(packets, chip.mesh)
    assert (loads <= unicast + 1e-9).all()
    assert (loads.sum() < 0.9 * unicast.sum()) == (floats.name == "chain")


def test_the_busier_of_two_receivers_is_placed_nearer() -> None:
    """On a line that starts at the host, whichever of four core programs hears most comes first."""
    chip = tiny_chip(width=4, height=1, cores_per_tile=1)
    partitioned = cut(dense_network((3, 16)), chip, 4)
    flows = packet_flows(partitioned)
    assert flows == [(HOST, core) for core in range(4)]
    for loud in range(4):
        packets = np.where(np.arange(4) == loud, 5.0, 1.0)
        placement = Place().run(partitioned, chip, packets)
        assert placement.slots[loud].x == 0
        assert not placement.search_stopped
