"""Placements that follow a curve or fill up greedily: quick, and starts for the annealing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mapping.ir.quantized import Int32Array
from mapping.placement import curves
from mapping.placement.graph import WeightedGraph
from mapping.placement.problem import PLACERS, PlacementProblem, Search

BANDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 32)
"""Into how many bands the box is cut."""
FEW = 2048
"""Up to so many core programs, the greedy start is tried as well."""


@PLACERS.register("raster")
def raster(problem: PlacementProblem, search: Search) -> Int32Array:
    """Core programs in order along a tile, x, y, then chip by chip; uses no randomness."""
    del search
    return np.arange(problem.nodes, dtype=np.int32)


@PLACERS.register("hilbert")
def hilbert(problem: PlacementProblem, search: Search) -> Int32Array:
    """Core programs in order along a Hilbert curve near the host; uses no randomness."""
    del search
    return along(problem, curves.hilbert(*problem.box[2:]))


def along(problem: PlacementProblem, curve: Int32Array) -> Int32Array:
    """The first slots on ``curve``, the ``(tiles, 2)`` columns and rows of the problem's box."""
    left, top = problem.box[:2]
    rank = np.full(problem.columns * problem.rows, len(curve), np.int64)
    rank[(curve[:, 1] + top).astype(np.int64) * problem.columns + curve[:, 0] + left] = np.arange(
        len(curve)
    )
    return np.argsort(rank[problem.slot_tiles], kind="stable")[: problem.nodes].astype(np.int32)


@PLACERS.register("greedy")
def greedy(problem: PlacementProblem, search: Search) -> Int32Array:
    """Place the core program that exchanges most with the placed ones, where it costs least.

    The first one goes next to the host, if it hears from the host, or to the middle of the box.
    """
    del search
    graph = WeightedGraph.of(problem)
    nodes = problem.nodes
    left, top, width, height = problem.box
    tile_y, tile_x = np.divmod(problem.slot_tiles, problem.columns)
    inside = (tile_x >= left) & (tile_x < left + width) & (tile_y >= top) & (tile_y < top + height)
    usable = np.flatnonzero(inside)
    free = np.ones(len(usable), bool)
    at_x, at_y = graph.prefix_x[tile_x[usable]], graph.prefix_y[tile_y[usable]]
    host = graph.prefix_x[problem.host_tile[0]], graph.prefix_y[problem.host_tile[1]]
    spot: dict[int, tuple[int, int]] = {nodes: (int(host[0]), int(host[1]))}
    drawn = np.zeros(nodes + 1, np.int64)
    waiting = np.ones(nodes + 1, bool)
    slots = np.zeros(nodes, np.int32)
    middle = int(np.median(at_x)), int(np.median(at_y))
    node = nodes
    for _ in range(nodes):
        waiting[node] = False
        near = slice(graph.starts[node], graph.starts[node + 1])
        np.add.at(drawn, graph.partners[near], graph.weights[near])
        node = int(np.argmax(np.where(waiting, drawn, -1)[:nodes]))
        costs = np.zeros(len(usable), np.int64)
        for k in range(graph.starts[node], graph.starts[node + 1]):
            there = spot.get(int(graph.partners[k]))
            if there:
                costs += graph.weights[k] * (abs(at_x - there[0]) + abs(at_y - there[1]))
        if not costs.any():
            costs = abs(at_x - middle[0]) + abs(at_y - middle[1])
        chosen = int(np.argmin(np.where(free, costs, np.iinfo(np.int64).max)))
        free[chosen] = False
        slots[node] = usable[chosen]
        spot[node] = int(at_x[chosen]), int(at_y[chosen])
    return slots


def starts(problem: PlacementProblem) -> Iterator[Int32Array]:
    """All placements worth starting from; no two are the same."""
    found: list[npt.NDArray[np.int32]] = []
    for slots in _all_starts(problem):
        if not any(np.array_equal(slots, other) for other in found):
            found.append(slots)
            yield slots


def _all_starts(problem: PlacementProblem) -> Iterator[Int32Array]:
    search = Search()
    yield raster(problem, search)
    yield hilbert(problem, search)
    if problem.nodes <= FEW and problem.packets.size <= 32 * FEW:
        yield greedy(problem, search)
    width, height = problem.box[2:]
    for band in dict.fromkeys(-(-height // number) for number in BANDS if number <= height):
        yield along(problem, curves.bands(width, height, band))
    for band in dict.fromkeys(-(-width // number) for number in BANDS if number <= width):
        yield along(problem, curves.bands(height, width, band)[:, ::-1])
