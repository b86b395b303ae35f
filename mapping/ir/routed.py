"""Packet flows and the mesh links they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, frozen_array
from mapping.ir.quantized import Int32Array
from mapping.targets.figures import STEPS
from mapping.targets.spec import MeshSpec

DIRECTIONS = tuple(STEPS.values())
"""East, west, south, north as steps in (x, y).

A link is ``4 * tile + direction``; tiles are numbered along x, then along y, over all chips.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hops:
    """``(flows,)`` links of each kind on the way: within a chip by direction, between chips."""

    east_west: Int32Array
    north_south: Int32Array
    chip: Int32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routing:
    """One route per flow, that is per pair of sending and receiving core.

    Attributes:
        source, target: ``(flows,)`` core program indices; -1 is the host.
        offsets: ``(flows + 1,)``; links: flow ``f`` takes ``links[offsets[f]:offsets[f + 1]]``,
            directed mesh links in order.
    """

    source: Int32Array
    target: Int32Array
    offsets: Int32Array
    links: Int32Array

    def __post_init__(self) -> None:
        for name in ("source", "target", "offsets", "links"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int32))

    @property
    def charged(self) -> Int32Array:
        """``(flows,)`` core to which the network's work for a flow belongs: the receiving one.

        What goes to the host belongs to the core that sends it.
        """
        return np.where(self.target < 0, self.source, self.target).astype(np.int32)

    @property
    def flows(self) -> int:
        """Number of flows."""
        return int(self.source.shape[0])

    def pairs(self) -> list[tuple[int, int]]:
        """Sender and receiver of every flow, in order."""
        return list(zip(self.source.tolist(), self.target.tolist(), strict=True))

    def path(self, flow: int) -> Int32Array:
        """The links that ``flow`` takes, in order."""
        return self.links[self.offsets[flow] : self.offsets[flow + 1]]

    def hops(self, mesh: MeshSpec) -> Hops:
        """The hops of each flow."""
        vertical, between = self.links % 4 >= 2, between_chips(self.links, mesh)

        def on_the_way(kind: npt.NDArray[np.bool_]) -> Int32Array:
            passed = np.concatenate([[0], np.cumsum(kind)])
            return np.diff(passed[self.offsets]).astype(np.int32)

        return Hops(
            east_west=on_the_way(~vertical & ~between),
            north_south=on_the_way(vertical & ~between),
            chip=on_the_way(between),
        )

    def link_loads(self, packets: FloatArray, mesh: MeshSpec) -> FloatArray:
        """``(tiles * 4,)`` packets over each link when flow ``f`` carries ``packets[f]``."""
        loads = np.zeros(4 * mesh.columns * mesh.rows)
        np.add.at(loads, self.links, np.repeat(packets, np.diff(self.offsets)))
        return loads


def xy_links(
    source: Int32Array, target: Int32Array, mesh: MeshSpec
) -> tuple[Int32Array, Int32Array]:
    """The x-then-y routes between tiles, as ``offsets`` and ``links`` of :class:`Routing`.

    Args:
        source, target: ``(flows, 2)`` columns and rows of the tiles.
        mesh: where they lie.
    """
    way = target.astype(np.int64) - source
    length = np.abs(way).sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(length)])
    flow = np.repeat(np.arange(len(way)), length)
    done = np.arange(offsets[-1]) - offsets[flow]
    across = np.abs(way[flow, 0])
    vertical = done >= across
    sign = np.sign(way)[flow]
    column = source[flow, 0] + sign[:, 0] * np.minimum(done, across)
    row = source[flow, 1] + sign[:, 1] * np.maximum(done - across, 0)
    direction = np.where(vertical, 2 + (sign[:, 1] < 0), sign[:, 0] < 0)
    links = 4 * (row * mesh.columns + column) + direction
    return offsets.astype(np.int32), links.astype(np.int32)


def faulty_links(mesh: MeshSpec) -> npt.NDArray[np.int64]:
    """``(links, 3)`` column, row and direction number of the links that no route may take."""
    links = mesh.faulty.links if mesh.faulty else ()
    rows = [(x, y, list(STEPS).index(direction)) for x, y, direction in links]
    return np.array(rows, np.int64).reshape(-1, 3)


def faulty_flows(routing: Routing, mesh: MeshSpec) -> list[tuple[int, int]]:
    """Rows of (flow, link) where a route takes a faulty link."""
    column, row, direction = faulty_links(mesh).T
    found = np.flatnonzero(np.isin(routing.links, 4 * (row * mesh.columns + column) + direction))
    flows = np.searchsorted(routing.offsets, found, side="right") - 1
    return list(zip(flows.tolist(), routing.links[found].tolist(), strict=True))


def link_ends(link: int, mesh: MeshSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """Tiles (column, row), over all chips, that a link leads from and to."""
    tile, direction = divmod(link, 4)
    y, x = divmod(tile, mesh.columns)
    dx, dy = DIRECTIONS[direction]
    return (x, y), (x + dx, y + dy)


def between_chips(links: Int32Array, mesh: MeshSpec) -> npt.NDArray[np.bool_]:
    """Which of ``links`` leave their chip."""
    tiles, directions = np.divmod(links, 4)
    ends = np.stack(np.divmod(tiles, mesh.columns)[::-1], axis=1)
    size = np.array([mesh.width, mesh.height])
    beyond = ends + np.array(DIRECTIONS)[directions]
    return np.asarray((ends // size != beyond // size).any(axis=1))
