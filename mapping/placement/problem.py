"""What a placer decides about: core programs that send packets, slots, and what a hop costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, frozen_array
from mapping.ir.placed import usable_slots
from mapping.ir.quantized import Int32Array
from mapping.ir.routed import faulty_links
from mapping.registry import Registry
from mapping.targets.spec import ChipSpec, MeshSpec

Box = tuple[int, int, int, int]


@dataclass(slots=True, kw_only=True)
class Search:
    """How long and from which seed a placer may search.

    Attributes:
        seed: of all random choices.
        time_limit_s: stop after so many seconds; None for no limit. A search that is stopped
            depends on the speed of the machine.
        stopped: whether the limit was met.
    """

    seed: int = 0
    time_limit_s: float | None = None
    stopped: bool = False
    began_s: float = field(default_factory=time.perf_counter)

    def out_of_time(self) -> bool:
        """Whether the placer has to stop now; if so, remember it."""
        limit = self.time_limit_s
        self.stopped |= limit is not None and time.perf_counter() - self.began_s >= limit
        return self.stopped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacementProblem:
    """Find a slot for every core program, so that packets × cost of their way is small.

    Tiles are numbered along x, then along y, over all chips, as in :mod:`mapping.ir.routed`.

    Attributes:
        nodes: number of core programs.
        source, target: ``(flows,)`` core programs, -1 is the host.
        packets: ``(flows,)`` expected packets per step.
        columns, rows: tiles of the mesh.
        slot_tiles: ``(slots,)`` the tile of every usable core.
        column_costs: ``(columns - 1,)`` of a hop from each column to the next one or back;
            row_costs: ``(rows - 1,)`` of the rows.
        host_tile: column and row of the tile that the host is attached to.
        faulty_links: ``(links, 3)`` column, row and direction of links that no route may take.
        box: first column, first row, columns and rows of the part of the mesh to start in.
    """

    nodes: int
    source: Int32Array
    target: Int32Array
    packets: FloatArray
    columns: int
    rows: int
    slot_tiles: Int32Array
    column_costs: FloatArray
    row_costs: FloatArray
    host_tile: tuple[int, int]
    faulty_links: npt.NDArray[np.int64]
    box: Box

    def __post_init__(self) -> None:
        for name in ("source", "target", "slot_tiles"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int32))
        for name in ("packets", "column_costs", "row_costs"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.float64))

    @classmethod
    def on_chip(
        cls, chip: ChipSpec, nodes: int, flows: Int32Array, packets: FloatArray
    ) -> PlacementProblem:
        """``nodes`` core programs on ``chip``, where a hop costs its energy.

        Args:
            chip: the target.
            nodes: number of core programs, at most ``chip.cores``.
            flows: ``(flows, 2)`` senders and receivers, -1 is the host; packets: ``(flows,)``.
        """
        mesh, energy = chip.mesh, chip.energy_j
        slots = usable_slots(mesh)
        chip_row, chip_column = np.divmod(slots[:, 0], mesh.chips.value[0])
        column = chip_column * mesh.width + slots[:, 2]
        row = chip_row * mesh.height + slots[:, 1]
        return cls(
            nodes=nodes,
            source=flows[:, 0],
            target=flows[:, 1],
            packets=packets,
            columns=mesh.columns,
            rows=mesh.rows,
            slot_tiles=row * mesh.columns + column,
            column_costs=_boundary_costs(
                mesh.columns, mesh.width, energy.hop_east_west.value, energy.hop_chip.value
            ),
            row_costs=_boundary_costs(
                mesh.rows, mesh.height, energy.hop_north_south.value, energy.hop_chip.value
            ),
            host_tile=mesh.host_tile,
            faulty_links=faulty_links(mesh),
            box=_box(mesh, nodes, column, row),
        )

    @classmethod
    def on_grid(
        cls, columns: int, rows: int, flows: npt.NDArray[np.int64], packets: FloatArray
    ) -> PlacementProblem:
        """One core per tile, one cost for all hops, as many core programs as tiles, no host.

        Args:
            columns, rows: size of the mesh.
            flows: ``(flows, 2)`` senders and receivers.
            packets: ``(flows,)``.
        """
        return cls(
            nodes=columns * rows,
            source=flows[:, 0].astype(np.int32),
            target=flows[:, 1].astype(np.int32),
            packets=packets,
            columns=columns,
            rows=rows,
            slot_tiles=np.arange(columns * rows, dtype=np.int32),
            column_costs=np.ones(columns - 1),
            row_costs=np.ones(rows - 1),
            host_tile=(0, 0),
            faulty_links=np.zeros((0, 3), np.int64),
            box=(0, 0, columns, rows),
        )

    def in_hops(self) -> PlacementProblem:
        """The same where every hop costs 1."""
        return replace(
            self,
            column_costs=np.ones(self.columns - 1),
            row_costs=np.ones(self.rows - 1),
        )

    def thinned(self, flows: int) -> PlacementProblem:
        """The same with at most ``flows`` of the flows, chosen at random."""
        if len(self.source) <= flows:
            return self
        chosen = np.random.default_rng(0).integers(len(self.source), size=flows)
        return replace(
            self,
            source=self.source[chosen],
            target=self.target[chosen],
            packets=self.packets[chosen],
        )

    def tiles(self, slots: Int32Array) -> tuple[Int32Array, Int32Array]:
        """``(nodes + 1,)`` columns and rows of all core programs and, last, of the host."""
        y, x = np.divmod(self.slot_tiles[slots], self.columns)
        host_x, host_y = self.host_tile
        return np.append(x, host_x).astype(np.int32), np.append(y, host_y).astype(np.int32)

    def cost(self, slots: Int32Array) -> float:
        """Packets × cost of their way, over all flows."""
        x, y = self.tiles(slots)
        at_x = np.append(0.0, np.cumsum(self.column_costs))[x]
        at_y = np.append(0.0, np.cumsum(self.row_costs))[y]
        way = np.abs(at_x[self.source] - at_x[self.target])
        way += np.abs(at_y[self.source] - at_y[self.target])
        return float(self.packets @ way)

    def blocked_flows(self, slots: Int32Array) -> int:
        """Number of flows, times faulty links that their x-then-y routes take."""
        x, y = self.tiles(slots)
        found = 0
        from_x, from_y, to_x, to_y = (a[b] for b in (self.source, self.target) for a in (x, y))
        for column, row, direction in self.faulty_links.tolist():
            along_x = (from_y == row) & (
                (from_x <= column) & (column < to_x)
                if direction == 0
                else (to_x < column) & (column <= from_x)
            )
            along_y = (to_x == column) & (
                (from_y <= row) & (row < to_y) if direction == 2 else (to_y < row) & (row <= from_y)
            )
            found += int((along_x if direction < 2 else along_y).sum())
        return found


Placer = Callable[[PlacementProblem, Search], Int32Array]
"""From a problem to ``(nodes,)`` numbers of slots, as :func:`usable_slots` numbers them."""
PLACERS: Registry[Placer] = Registry("placer", "adlrns_map.placers")


def _boundary_costs(tiles: int, per_chip: int, within: float, between: float) -> FloatArray:
    """``(tiles - 1,)`` costs of the hops along one axis."""
    leaves = np.arange(1, tiles) % per_chip == 0
    return np.where(leaves, between, within).astype(np.float64)


def _box(mesh: MeshSpec, nodes: int, column: Int32Array, row: Int32Array) -> Box:
    """A rectangle of tiles near the host with room for ``nodes`` core programs.

    Within the host's chip it grows tile by tile, beyond it by whole chips.
    """
    host_x, host_y = mesh.host_tile
    width = height = 1
    left, top = host_x, host_y
    while True:
        inside = (column >= left) & (column < left + width) & (row >= top) & (row < top + height)
        if int(inside.sum()) >= nodes or (width, height) == (mesh.columns, mesh.rows):
            return left, top, width, height
        whole = width >= mesh.width and height >= mesh.height
        unit_x, unit_y = (mesh.width, mesh.height) if whole else (1, 1)
        most_x, most_y = (mesh.columns, mesh.rows) if whole else (mesh.width, mesh.height)
        if width < most_x and (width / unit_x <= height / unit_y or height >= most_y):
            width += unit_x
        else:
            height += unit_y
        left, top = min(host_x, most_x - width), min(host_y, most_y - height)
