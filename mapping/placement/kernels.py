"""Compiled inner loops of the annealing placer, all in integers.

Nodes ``0 .. n - 1`` are core programs, node ``n`` is the host, which never moves. Distances are
sums of the costs of the column and row boundaries between two tiles, so they are differences of
prefix sums, and the cost of a node is one function of its column plus one of its row.
``pull_x[i, x]`` is the slope of the former between columns ``x`` and ``x + 1``: the weight of the
neighbours of ``i`` at or left of ``x`` minus that of the others. With it, a move is judged in as
many steps as it is far, however many neighbours there are; only a move that is made visits them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from mapping.xorshift import below

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Integer = int | np.int64
UInt64s = npt.NDArray[np.uint64]


@njit(cache=True, nogil=True)
def total_cost(
    starts: Int64s, partners: Int32s, weights: Int32s, at_x: Int64s, at_y: Int64s
) -> Integer:
    """Sum over all pairs of weight × distance."""
    total = np.int64(0)
    for i in range(len(starts) - 1):
        for k in range(starts[i], starts[i + 1]):
            j = partners[k]
            if j > i:
                total += weights[k] * (abs(at_x[i] - at_x[j]) + abs(at_y[i] - at_y[j]))
    return total


@njit(cache=True, nogil=True)
def fill_pulls(
    starts: Int64s, partners: Int32s, weights: Int32s, position: Int32s, pull: Int32s
) -> None:
    """Set ``pull[i, x]`` for every node and boundary of one axis."""
    boundaries = pull.shape[1]
    for i in range(len(starts) - 1):
        all_weight = np.int32(0)
        for x in range(boundaries):
            pull[i, x] = 0
        for k in range(starts[i], starts[i + 1]):
            x = position[partners[k]]
            all_weight += weights[k]
            if x < boundaries:
                pull[i, x] += np.int32(2) * weights[k]
        left = -all_weight
        for x in range(boundaries):
            left += pull[i, x]
            pull[i, x] = left


@njit(cache=True, nogil=True)
def shift_pulls(
    starts: Int64s,
    partners: Int32s,
    weights: Int32s,
    node: Integer,
    old: Integer,
    new: Integer,
    pull: Int32s,
) -> None:
    """Follow the move of ``node`` from position ``old`` to ``new`` of one axis."""
    low, high, sign = (old, new, np.int32(-2)) if old < new else (new, old, np.int32(2))
    if low == high:
        return
    for k in range(starts[node], starts[node + 1]):
        change = sign * weights[k]
        row = pull[partners[k]]
        for x in range(low, high):
            row[x] += change


@njit(cache=True, nogil=True)
def climb(pull: Int32s, costs: Int64s, old: Integer, new: Integer) -> Integer:
    """Change of one axis's part of a node's cost when it moves from ``old`` to ``new``."""
    change = np.int64(0)
    if old < new:
        for x in range(old, new):
            change += pull[x] * costs[x]
    else:
        for x in range(new, old):
            change -= pull[x] * costs[x]
    return change


@njit(cache=True, nogil=True)
def visit(
    starts: Int64s,
    partners: Int32s,
    weights: Int32s,
    at_x: Int64s,
    at_y: Int64s,
    node: Integer,
    new_x: Integer,
    new_y: Integer,
) -> Integer:
    """Change of a node's cost when it moves, by visiting its neighbours."""
    old_x, old_y = at_x[node], at_y[node]
    change = np.int64(0)
    for k in range(starts[node], starts[node + 1]):
        x, y = at_x[partners[k]], at_y[partners[k]]
        now = abs(old_x - x) + abs(old_y - y)
        change += weights[k] * (abs(new_x - x) + abs(new_y - y) - now)
    return change


@njit(cache=True, nogil=True)
def between(starts: Int64s, partners: Int32s, weights: Int32s, a: Integer, b: Integer) -> Integer:
    """Weight between two nodes, 0 if they are not neighbours; partners are sorted."""
    low, high = starts[a], starts[a + 1]
    while low < high:
        middle = (low + high) // 2
        if partners[middle] < b:
            low = middle + 1
        else:
            high = middle
    if low < starts[a + 1] and partners[low] == b:
        return np.int64(weights[low])
    return np.int64(0)


@njit(cache=True, nogil=True)
def middle_of(a: Integer, b: Integer, c: Integer) -> Integer:
    """The median of three."""
    return max(min(a, b), min(max(a, b), c))


@njit(cache=True, nogil=True)
def watch(
    starts: Int64s,
    partners: Int32s,
    x: Int32s,
    y: Int32s,
    reach: Integer,
    watched: npt.NDArray[np.bool_],
) -> None:
    """Mark the nodes that have a neighbour more than ``reach`` hops away."""
    for i in range(len(watched)):
        watched[i] = False
        for k in range(starts[i], starts[i + 1]):
            j = partners[k]
            if abs(x[i] - x[j]) + abs(y[i] - y[j]) > reach:
                watched[i] = True
                break


@njit(cache=True, nogil=True)
def offences(
    ways: Int32s,
    starts: Int64s,
    partners: Int32s,
    x: Int32s,
    y: Int32s,
    node: Integer,
    other: Integer,
    longest: Integer,
    faulty: Int64s,
) -> tuple[Integer, Integer]:
    """What the flows of ``node``, but those with ``other``, do that they should not.

    The hops by which they are longer than ``longest``, and how many faulty links their x-then-y
    routes take. ``ways[k]`` has bit 0 set if the node sends to its partner, bit 1 if it receives.
    """
    excess, blocked = np.int64(0), np.int64(0)
    for k in range(starts[node], starts[node + 1]):
        j = partners[k]
        if j == other:
            continue
        excess += max(0, abs(x[node] - x[j]) + abs(y[node] - y[j]) - longest)
        if len(faulty) > 0:
            if ways[k] & 1:
                blocked += crossed(x[node], y[node], x[j], y[j], faulty)
            if ways[k] & 2:
                blocked += crossed(x[j], y[j], x[node], y[node], faulty)
    return excess, blocked


@njit(cache=True, nogil=True)
def crossed(x0: Integer, y0: Integer, x1: Integer, y1: Integer, faulty: Int64s) -> Integer:
    """How many of the ``(links, 3)`` faulty links (x, y, direction) the x-then-y path takes."""
    found = 0
    for f in range(len(faulty)):
        x, y, direction = faulty[f, 0], faulty[f, 1], faulty[f, 2]
        found += (
            (direction == 0 and y == y0 and x0 <= x < x1)
            or (direction == 1 and y == y0 and x1 < x <= x0)
            or (direction == 2 and x == x1 and y0 <= y < y1)
            or (direction == 3 and x == x1 and y1 < y <= y0)
        )
    return found


@njit(cache=True, nogil=True)
def anneal_stage(
    starts: Int64s,
    partners: Int32s,
    weights: Int32s,
    ways: Int32s,
    x: Int32s,
    y: Int32s,
    at_x: Int64s,
    at_y: Int64s,
    slot: Int32s,
    node_at: Int32s,
    tile_starts: Int64s,
    prefix_x: Int64s,
    prefix_y: Int64s,
    pull_x: Int32s,
    pull_y: Int32s,
    watched: npt.NDArray[np.bool_],
    longest: Integer,
    excess_cost: Integer,
    faulty: Int64s,
    blocked_cost: Integer,
    logarithms: Floats,
    temperature: float,
    radius: Integer,
    median_share: Integer,
    moves: Integer,
    state: UInt64s,
) -> Integer:
    """Try ``moves`` moves at one temperature; returns the change of cost.

    A move takes a random node to a random slot of a tile: one within ``radius`` of its own, or in
    ``median_share`` of 256 cases one at most a step from the coordinate-wise median of three of
    its neighbours. The node that was there, if any, takes its place.
    """
    columns, rows = len(prefix_x), len(prefix_y)
    costs_x, costs_y = prefix_x[1:] - prefix_x[:-1], prefix_y[1:] - prefix_y[:-1]
    by_pulls = pull_x.shape[0] > 0
    nodes = len(slot)
    gained = np.int64(0)
    for _ in range(moves):
        a = below(state, nodes)
        degree = starts[a + 1] - starts[a]
        if degree > 0 and below(state, 256) < median_share:
            i = partners[starts[a] + below(state, degree)]
            j = partners[starts[a] + below(state, degree)]
            k = partners[starts[a] + below(state, degree)]
            new_x = middle_of(x[i], x[j], x[k]) + below(state, 3) - 1
            new_y = middle_of(y[i], y[j], y[k]) + below(state, 3) - 1
        else:
            new_x = x[a] + below(state, 2 * radius + 1) - radius
            new_y = y[a] + below(state, 2 * radius + 1) - radius
        if new_x < 0 or new_y < 0 or new_x >= columns or new_y >= rows:
            continue
        old_x, old_y = np.int64(x[a]), np.int64(y[a])
        tile = new_y * columns + new_x
        room = tile_starts[tile + 1] - tile_starts[tile]
        if room == 0 or (new_x == old_x and new_y == old_y):
            continue
        new_slot = tile_starts[tile] + below(state, room)
        old_slot = slot[a]
        b = node_at[new_slot]
        allowed = temperature * logarithms[below(state, len(logarithms))]
        if by_pulls:
            change = climb(pull_x[a], costs_x, old_x, new_x)
            change += climb(pull_y[a], costs_y, old_y, new_y)
            if b >= 0:
                change += climb(pull_x[b], costs_x, new_x, old_x)
                change += climb(pull_y[b], costs_y, new_y, old_y)
        else:
            change = visit(
                starts, partners, weights, at_x, at_y, a, prefix_x[new_x], prefix_y[new_y]
            )
            if b >= 0:
                change += visit(
                    starts, partners, weights, at_x, at_y, b, prefix_x[old_x], prefix_y[old_y]
                )
        if change > allowed:
            continue
        if b >= 0:  # each of the two was taken to come to where the other one was
            apart = abs(prefix_x[new_x] - prefix_x[old_x]) + abs(prefix_y[new_y] - prefix_y[old_y])
            change += 2 * apart * between(starts, partners, weights, a, b)
            if change > allowed:
                continue
        guarded = watched[a] or (b >= 0 and watched[b])
        if guarded:
            long, blocked = offences(ways, starts, partners, x, y, a, -1, longest, faulty)
            if b >= 0:
                more = offences(ways, starts, partners, x, y, b, a, longest, faulty)
                long, blocked = long + more[0], blocked + more[1]
        x[a], y[a] = new_x, new_y
        if b >= 0:
            x[b], y[b] = old_x, old_y
        if guarded:
            then_long, then_blocked = offences(ways, starts, partners, x, y, a, -1, longest, faulty)
            if b >= 0:
                more = offences(ways, starts, partners, x, y, b, a, longest, faulty)
                then_long, then_blocked = then_long + more[0], then_blocked + more[1]
            extra = excess_cost * (then_long - long) + blocked_cost * (then_blocked - blocked)
            if change + extra > allowed:
                x[a], y[a] = old_x, old_y
                if b >= 0:
                    x[b], y[b] = new_x, new_y
                continue
        at_x[a], at_y[a] = prefix_x[new_x], prefix_y[new_y]
        slot[a] = new_slot
        node_at[new_slot] = a
        node_at[old_slot] = b
        if b >= 0:
            at_x[b], at_y[b] = prefix_x[old_x], prefix_y[old_y]
            slot[b] = old_slot
        if by_pulls:
            shift_pulls(starts, partners, weights, a, old_x, new_x, pull_x)
            shift_pulls(starts, partners, weights, a, old_y, new_y, pull_y)
            if b >= 0:
                shift_pulls(starts, partners, weights, b, new_x, old_x, pull_x)
                shift_pulls(starts, partners, weights, b, new_y, old_y, pull_y)
        gained += change
    return gained


@njit(cache=True, nogil=True)
def sample_changes(
    starts: Int64s,
    partners: Int32s,
    weights: Int32s,
    x: Int32s,
    y: Int32s,
    at_x: Int64s,
    at_y: Int64s,
    prefix_x: Int64s,
    prefix_y: Int64s,
    changes: Int64s,
    state: UInt64s,
) -> None:
    """Fill ``changes`` with how much random nodes' costs change by a move of one tile."""
    for number in range(len(changes)):
        a = below(state, len(starts) - 2)
        new_x = min(max(x[a] + below(state, 3) - 1, 0), len(prefix_x) - 1)
        new_y = min(max(y[a] + below(state, 3) - 1, 0), len(prefix_y) - 1)
        changes[number] = np.int64(
            visit(starts, partners, weights, at_x, at_y, a, prefix_x[new_x], prefix_y[new_y])
        )
