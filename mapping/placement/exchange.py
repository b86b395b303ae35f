"""Steepest descent by moves and exchanges: for a dozen core programs, without a compiler."""

from __future__ import annotations

import numpy as np

from mapping.ir.quantized import Int32Array
from mapping.placement.graph import WeightedGraph
from mapping.placement.problem import PlacementProblem

NEAR = 512
"""Slots that are tried: so many nearest to the host, and those of the start."""


def exchange(problem: PlacementProblem, graph: WeightedGraph, start: Int32Array) -> Int32Array:
    """Make the best of all moves to a free slot and exchanges of two slots, until none helps."""
    nodes = problem.nodes
    weights = np.zeros((nodes + 1, nodes + 1), np.int64)
    one = np.repeat(np.arange(nodes + 1), np.diff(graph.starts))
    weights[one, graph.partners] = graph.weights
    near = _near(problem, graph, start)
    row, column = np.divmod(problem.slot_tiles[near], problem.columns)
    at_x = np.append(graph.prefix_x[column], graph.prefix_x[problem.host_tile[0]])
    at_y = np.append(graph.prefix_y[row], graph.prefix_y[problem.host_tile[1]])
    way = np.abs(at_x[:, None] - at_x) + np.abs(at_y[:, None] - at_y)
    place = np.append(np.searchsorted(near, start), len(near))
    inner = np.arange(nodes)
    while True:
        costs = weights[:nodes] @ way[place]
        change = costs[:, :-1] - costs[inner, place[:nodes]][:, None]
        pair = place[:nodes]
        mutual = 2 * weights[:nodes, :nodes] * way[pair][:, pair]
        change[:, pair] = change[:, pair] + change[:, pair].T + mutual
        node, target = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[node, target] >= 0:
            return np.asarray(near[place[:nodes]], np.int32)
        other = np.flatnonzero(place[:nodes] == target)
        place[other] = place[node]
        place[node] = target


def _near(problem: PlacementProblem, graph: WeightedGraph, start: Int32Array) -> Int32Array:
    """Sorted numbers of the slots that are tried."""
    row, column = np.divmod(problem.slot_tiles, problem.columns)
    x, y = problem.host_tile
    way = np.abs(graph.prefix_x[column] - graph.prefix_x[x])
    way += np.abs(graph.prefix_y[row] - graph.prefix_y[y])
    nearest = np.argsort(way, kind="stable")[:NEAR]
    return np.union1d(nearest, start).astype(np.int32)
