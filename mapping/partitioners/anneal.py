"""Simulated annealing of a cut hypergraph (Numba); import it only where it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

TRIES = 16
"""Cells that are looked at to find one to swap with, where a core is full."""


def annealed(
    edges: list[list[int]],
    weights: list[int],
    sizes: Int64Array,
    core_of: Int64Array,
    *,
    cores: int,
    capacity: int,
    moves: int,
    seed: int,
) -> Int64Array:
    """``core_of`` with fewer cut hyperedges: the best cut that was seen.

    Cells move to cores to which their hyperedges lead, or swap places if there is no room. The
    temperature falls geometrically from about what a typical move costs to a fiftieth of that.

    Args:
        edges, weights: cells of each hyperedge, and its weight; the cost of a cut is the sum of
            weight times the number of cores beyond the first (km1).
        sizes: ``(cells,)`` compartments of each cell.
        core_of: ``(cells,)`` a cut that keeps ``capacity``.
        cores: number of cores; capacity: compartments that each holds.
        moves: number of moves tried.
        seed: of the random moves.
    """
    ends = np.cumsum([0, *map(len, edges)], dtype=np.int64)
    pins = np.concatenate([np.asarray(edge, np.int64) for edge in edges])
    order = np.argsort(pins, kind="stable")
    firsts = np.searchsorted(pins[order], np.arange(sizes.size + 1))
    edge_of = np.repeat(np.arange(len(edges)), np.diff(ends))[order]
    heat = np.asarray(weights, np.float64)
    loads = np.bincount(core_of, sizes, cores).astype(np.int64)
    table = np.zeros((len(edges), cores), np.int32)
    np.add.at(table, (np.repeat(np.arange(len(edges)), np.diff(ends)), core_of[pins]), 1)
    best = core_of.copy()
    _anneal(
        ends,
        pins,
        firsts.astype(np.int64),
        edge_of,
        heat,
        sizes,
        core_of.copy(),
        best,
        loads,
        table,
        capacity,
        moves,
        _START * float(heat.mean()),
        np.random.default_rng(seed).integers(1, 2**63, 1).astype(np.uint64),
    )
    return best


_START = 6.0
"""First temperature over the mean weight of a hyperedge: best of 0.1 to 50 on LeNet-5."""

_END = 0.02
"""Last temperature over the first."""


@njit(cache=True)
def _uniform(state: Any) -> float:
    """A number in [0, 1) by xorshift64* (Vigna, ACM TOMS 42(4), 2016), the same on any machine."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def _below(state: Any, limit: int) -> int:
    """An integer in 0..limit-1."""
    return int(_uniform(state) * limit)


@njit(cache=True)
def _moved(cell: int, a: int, b: int, firsts: Any, edge_of: Any, heat: Any, table: Any) -> float:
    """Note that ``cell`` goes from core ``a`` to core ``b``; returns what that costs."""
    change = 0.0
    for at in range(firsts[cell], firsts[cell + 1]):
        edge = edge_of[at]
        table[edge, a] -= 1
        if table[edge, a] == 0:
            change -= heat[edge]
        if table[edge, b] == 0:
            change += heat[edge]
        table[edge, b] += 1
    return change


@njit(cache=True)
def _anneal(
    ends: Any,
    pins: Any,
    firsts: Any,
    edge_of: Any,
    heat: Any,
    sizes: Any,
    core_of: Any,
    best: Any,
    loads: Any,
    table: Any,
    capacity: int,
    moves: int,
    start: float,
    random: Any,
) -> None:
    cells = sizes.size
    cost = least = 0.0
    for move in range(moves):
        temperature = start * _END ** (move / moves)
        cell = _below(random, cells)
        degree = firsts[cell + 1] - firsts[cell]
        if degree == 0:
            continue
        edge = edge_of[firsts[cell] + _below(random, degree)]
        pin = pins[ends[edge] + _below(random, ends[edge + 1] - ends[edge])]
        a, b = core_of[cell], core_of[pin]
        if a == b:
            continue
        other = -1
        if loads[b] + sizes[cell] > capacity:
            for _ in range(TRIES):
                candidate = _below(random, cells)
                gain = sizes[cell] - sizes[candidate]
                fits = loads[b] + gain <= capacity and loads[a] - gain <= capacity
                if core_of[candidate] == b and fits:
                    other = candidate
                    break
            if other < 0:
                continue
        change = _moved(cell, a, b, firsts, edge_of, heat, table)
        if other >= 0:
            change += _moved(other, b, a, firsts, edge_of, heat, table)
        if change <= 0 or _uniform(random) < np.exp(-change / temperature):
            core_of[cell] = b
            gain = sizes[cell]
            if other >= 0:
                core_of[other] = a
                gain -= sizes[other]
            loads[a] -= gain
            loads[b] += gain
            cost += change
            if cost < least - 1e-9:
                least = cost
                best[:] = core_of
        else:
            _moved(cell, b, a, firsts, edge_of, heat, table)
            if other >= 0:
                _moved(other, a, b, firsts, edge_of, heat, table)
