"""The annealing placer: several starts, of which the best are improved by random moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray
from mapping.ir.quantized import Int32Array
from mapping.placement.exchange import exchange
from mapping.placement.graph import HOP_UNITS, WeightedGraph
from mapping.placement.loads import link_loads, longest_path
from mapping.placement.problem import PLACERS, PlacementProblem, Search
from mapping.placement.starts import starts

MOST_MOVES = 4000
"""Moves tried per core program, at most."""
MOVES_BY_SIZE = 128_000
"""That number times the square root of the number of core programs, at most."""
MOVES_BY_DEGREE = 80_000
"""That number times the mean number of neighbours, at most."""
BRANCHES = 2
"""Starts that are improved; they share the moves."""
STAGES = 60
HOT, COLD = 4.0, 0.02
"""First and last but one temperature, in units of what a move by one tile typically changes; the
last stage is at temperature 0."""
MEDIAN_SHARE = 77
"""Of 256 moves, those towards the neighbours of a core program."""
STRETCH = 2
"""Flows longer than so many times the longest one of the start cost extra for each hop."""
PULL_BYTES = 2**29
"""Memory above which neighbours are visited for every move."""
SAMPLE = 100_000
"""Number of flows by which starts are compared."""
FEW = 16
"""Up to so many core programs, descent from every start does as well, without compiled code."""
LEVELS = 4096
"""Number of different thresholds for accepting a move."""
ALIKE = 0.005
"""Relative difference of cost below which the lower of two busiest links decides."""


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """A placement under way, in the arrays of :mod:`mapping.placement.kernels`.

    ``order`` holds the problem's slots sorted by tile, as ``slot`` and ``node_at`` number them.
    """

    graph: WeightedGraph
    order: npt.NDArray[np.int64]
    x: Int32Array
    y: Int32Array
    slot: Int32Array
    node_at: Int32Array
    tile_starts: npt.NDArray[np.int64]
    random: npt.NDArray[np.uint64]
    at_x: npt.NDArray[np.int64] = field(init=False)
    at_y: npt.NDArray[np.int64] = field(init=False)
    pull_x: Int32Array = field(init=False)
    pull_y: Int32Array = field(init=False)

    def __post_init__(self) -> None:
        from mapping.placement import kernels

        graph = self.graph
        self.at_x, self.at_y = graph.prefix_x[self.x], graph.prefix_y[self.y]
        columns, rows, nodes = len(graph.prefix_x), len(graph.prefix_y), len(self.x)
        kept = nodes if 4 * nodes * (columns + rows) <= PULL_BYTES else 0
        self.pull_x = np.zeros((kept, columns - 1), np.int32)
        self.pull_y = np.zeros((kept, rows - 1), np.int32)
        if kept:
            edges = graph.starts, graph.partners, graph.weights
            kernels.fill_pulls(*edges, self.x, self.pull_x)
            kernels.fill_pulls(*edges, self.y, self.pull_y)


@PLACERS.register("anneal")
def anneal(problem: PlacementProblem, search: Search) -> Int32Array:
    """Improve the cheapest starts by simulated annealing and keep the best.

    Moves, not seconds, are counted and all arithmetic is on integers, so that a seed gives the
    same placement on every machine, unless ``search`` runs out of time.
    """
    if problem.nodes == 0:
        return np.zeros(0, np.int32)
    graph = WeightedGraph.of(problem)
    few = problem.thinned(SAMPLE)
    candidates = sorted(starts(problem), key=lambda slots: _rank(few, slots))
    best = candidates[0]
    if problem.nodes <= FEW and not len(problem.faulty_links):
        descended = (exchange(problem, graph, start) for start in candidates)
        return min(descended, key=lambda slots: _rank(problem, slots))
    chosen = candidates[:BRANCHES]
    moves = _moves(graph, problem.nodes) // len(chosen)
    for number, start in enumerate(chosen):
        found = _improved(problem, graph, start, moves, search, number)
        if _better(problem, found, best):
            best = found
    return best


def _moves(graph: WeightedGraph, nodes: int) -> int:
    """How many moves to try in all."""
    degree = max(1.0, len(graph.partners) / nodes)
    return int(nodes * min(MOST_MOVES, MOVES_BY_SIZE / nodes**0.5, MOVES_BY_DEGREE / degree))


def _rank(problem: PlacementProblem, slots: Int32Array) -> tuple[int, float]:
    return problem.blocked_flows(slots), problem.cost(slots)


def _better(problem: PlacementProblem, one: Int32Array, other: Int32Array) -> bool:
    """Whether ``one`` is better: fewer blocked flows, then cost, then the busiest link."""
    (blocked, cost), (other_blocked, other_cost) = _rank(problem, one), _rank(problem, other)
    if blocked == other_blocked and abs(cost - other_cost) <= ALIKE * other_cost:
        loads = [(float(link_loads(problem, s).max(initial=0.0))) for s in (one, other)]
        return (loads[0], cost) < (loads[1], other_cost)
    return (blocked, cost) < (other_blocked, other_cost)


def _improved(
    problem: PlacementProblem,
    graph: WeightedGraph,
    start: Int32Array,
    moves: int,
    search: Search,
    branch: int,
) -> Int32Array:
    state = begin(problem, graph, start, search.seed, branch)
    unit = _typical_change(state)
    side = np.sqrt(len(np.unique(problem.slot_tiles[start])))
    widest = 1 + side / 16
    longest = STRETCH * max(1, longest_path(problem, start))
    for number in range(STAGES):
        if search.out_of_time():
            break
        past = number / (STAGES - 2)
        hotness = HOT * (COLD / HOT) ** past if number < STAGES - 1 else 0.0
        temperature = float(round(unit * hotness))
        radius = max(1, round(widest ** (1 - past)))
        stage(problem, state, temperature, radius=radius, longest=longest, moves=moves // STAGES)
    return state.order[state.slot].astype(np.int32)


def begin(
    problem: PlacementProblem, graph: WeightedGraph, start: Int32Array, seed: int, branch: int
) -> State:
    """The state of a search from the slots ``start``."""
    order = np.argsort(problem.slot_tiles, kind="stable")
    place_of = np.empty_like(order)
    place_of[order] = np.arange(len(order))
    x, y = problem.tiles(start)
    slot = place_of[start].astype(np.int32)
    node_at = np.full(len(order), -1, np.int32)
    node_at[slot] = np.arange(problem.nodes)
    tiles = np.arange(problem.columns * problem.rows + 1)
    return State(
        graph=graph,
        order=order,
        x=x,
        y=y,
        slot=slot,
        node_at=node_at,
        tile_starts=np.searchsorted(problem.slot_tiles[order], tiles),
        random=_random_state(seed, branch),
    )


def stage(
    problem: PlacementProblem,
    state: State,
    temperature: float,
    *,
    radius: int,
    longest: int,
    moves: int,
) -> int:
    """Try moves at one temperature; the change of the integer cost."""
    from mapping.placement import kernels

    graph = state.graph
    watched = np.ones(problem.nodes, np.bool_)
    if not len(problem.faulty_links):
        edges = graph.starts, graph.partners
        kernels.watch(*edges, state.x, state.y, longest // 2, watched)
    heaviest = int(graph.weights.max(initial=0)) * int(graph.prefix_x[-1] + graph.prefix_y[-1])
    return int(
        kernels.anneal_stage(
            graph.starts,
            graph.partners,
            graph.weights,
            graph.ways,
            state.x,
            state.y,
            state.at_x,
            state.at_y,
            state.slot,
            state.node_at,
            state.tile_starts,
            graph.prefix_x,
            graph.prefix_y,
            state.pull_x,
            state.pull_y,
            watched,
            longest,
            int(graph.weights.mean() * HOP_UNITS) if len(graph.weights) else 0,
            problem.faulty_links,
            heaviest,
            _logarithms(),
            temperature,
            radius,
            MEDIAN_SHARE,
            moves,
            state.random,
        )
    )


def _typical_change(state: State) -> float:
    """Median of what moves by one tile change."""
    from mapping.placement import kernels

    changes = np.zeros(1000, np.int64)
    graph = state.graph
    kernels.sample_changes(
        graph.starts,
        graph.partners,
        graph.weights,
        state.x,
        state.y,
        state.at_x,
        state.at_y,
        graph.prefix_x,
        graph.prefix_y,
        changes,
        state.random,
    )
    return float(np.median(np.abs(changes[changes != 0]))) if changes.any() else 1.0


def _logarithms() -> FloatArray:
    """``(LEVELS,)`` -ln of evenly spread numbers in (0, 1), rounded alike on every machine."""
    exact = -np.log((np.arange(LEVELS) + 0.5) / LEVELS)
    return np.asarray(np.rint(exact * 2**20) / 2**20, np.float64)


def _random_state(seed: int, branch: int) -> npt.NDArray[np.uint64]:
    return np.maximum(np.random.SeedSequence((seed, branch)).generate_state(1, np.uint64), 1)
