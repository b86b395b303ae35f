"""Certified lower bounds on packets × cost of the way, whatever the placement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mapping.ir.network import FloatArray
from mapping.ir.quantized import Int32Array
from mapping.placement.problem import PlacementProblem

EXACT_TILES = 1024
"""Up to so many tiles, distances are those of the mesh itself, else those of an endless one."""
CITY = 0.650245952
"""Least mean Manhattan distance between two points of a shape of area 1 (Bender, Bender, Demaine,
Fekete: What is the optimal shape of a city?, J. Phys. A 37, 2004), rounded down."""
SPECTRAL_NODES = 512
"""Largest connected part of the traffic whose eigenvalues are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerBound:
    """No placement costs less than ``value``; ``name`` says by which argument."""

    value: float
    name: str


def lower_bound(problem: PlacementProblem) -> LowerBound:
    """The highest of all bounds. Blocked links are not considered, blocked cores are."""
    bounds = [LowerBound(value=bound(problem), name=name) for name, bound in BOUNDS.items()]
    return max(bounds, key=lambda bound: bound.value)


def degree_bound(problem: PlacementProblem) -> float:
    """Cost at which every core program's partners fill the slots nearest to it.

    The heaviest partners take the nearest slots. A flow between core programs counts at both ends,
    hence the half; the partners of the host fill the slots around its own, fixed tile.
    """
    one, other, weights = _pairs(problem)
    total = 0.5 * _nearest(one, other, weights, _distances(problem, one))
    hosted, amounts = _host_partners(problem)
    nearest = np.sort(_from_tile(problem, *problem.host_tile))[: len(hosted)]
    return total + float(np.sort(amounts)[::-1] @ nearest)


def town_bound(problem: PlacementProblem) -> float:
    """The degree bound, but with what all-to-all groups of flows need at least.

    Let every core program of ``A`` send to every one of ``B``, none of them in both. The mean hops
    from ``A`` to ``B`` are at least those between two random members of an even mixture of both,
    since Manhattan distance is of negative type (energy inequality). Spread over its tiles, the
    mixture has a density of at most ``cores per tile / 2 min(|A|, |B|)``, and so a mean distance of
    at least :data:`CITY` over the root of that density; spreading adds a third of the odds that two
    members share their column, and of those for their row.

    The least packets of any flow of a group count so, the rest as in the degree bound.
    """
    packets = problem.packets.copy()
    cheapest = min([*problem.column_costs.tolist(), *problem.row_costs.tolist()], default=0.0)
    room, total = _Room.of(problem), 0.0
    for flows, senders, receivers in _all_to_all(problem):
        least = float(packets[flows].min())
        hops = room.mean_hops(2 * min(senders, receivers))
        total += cheapest * least * len(flows) * hops
        packets[flows] -= least if hops > 0 else 0.0
    return total + degree_bound(replace(problem, packets=packets))


def _all_to_all(problem: PlacementProblem) -> Iterator[tuple[npt.NDArray[np.int64], int, int]]:
    """Flows, number of senders and number of receivers of groups that share all receivers."""
    inner = np.flatnonzero((problem.source >= 0) & (problem.target >= 0))
    order = inner[np.lexsort((problem.target[inner], problem.source[inner]))]
    cuts = np.flatnonzero(np.diff(problem.source[order])) + 1
    groups: dict[bytes, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for flows in np.split(order, cuts) if len(order) else []:
        groups[problem.target[flows].tobytes()].append(flows)
    for members in groups.values():
        flows = np.concatenate(members)
        senders, receivers = problem.source[flows], problem.target[members[0]]
        if len(np.unique(receivers)) == len(receivers) and not np.isin(senders, receivers).any():
            yield flows, len(members), len(receivers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Most usable cores of any tile, of any column of tiles, and of any row."""

    tile: int
    column: int
    row: int

    @classmethod
    def of(cls, problem: PlacementProblem) -> _Room:
        y, x = np.divmod(problem.slot_tiles, problem.columns)
        tile, column, row = (int(np.bincount(w).max()) for w in (problem.slot_tiles, x, y))
        return cls(tile=tile, column=column, row=row)

    def mean_hops(self, members: int) -> float:
        """Least mean hops between two of a mixture that is as dense as ``members`` programs."""
        shared = min(1.0, self.column / members) + min(1.0, self.row / members)
        return float(max(0.0, CITY * np.sqrt(members / self.tile) - shared / 3))


def spectral_bound(problem: PlacementProblem) -> float:
    """Cost of the lines between columns and between rows that any placement has to cross.

    A line that separates ``k`` of the ``n`` core programs of a connected part of the traffic cuts
    packets of at least ``λ₂ k (n - k) / n``, where λ₂ is the second eigenvalue of its Laplacian
    (Fiedler 1973). A column holds no more core programs than it has slots, which bounds the number
    of lines from below; the host's flows are added as in the degree bound.
    """
    one, other, weights = _pairs(problem)
    graph = coo_array((weights, (one, other)), shape=(problem.nodes, problem.nodes)).tocsr()
    total = 0.0
    parts, part_of = connected_components(graph, directed=False)
    for part in range(parts):
        members = np.flatnonzero(part_of == part)
        if 1 < len(members) <= SPECTRAL_NODES:
            total += _lines(problem, graph[members][:, members].toarray())
    hosted, amounts = _host_partners(problem)
    nearest = np.sort(_from_tile(problem, *problem.host_tile))[: len(hosted)]
    return total + float(np.sort(amounts)[::-1] @ nearest)


BOUNDS: dict[str, Callable[[PlacementProblem], float]] = {
    "degree": degree_bound,
    "town": town_bound,
    "spectral": spectral_bound,
}


def _pairs(problem: PlacementProblem) -> tuple[Int32Array, Int32Array, FloatArray]:
    """Flows between different core programs, once from either end, added up and sorted."""
    inner = (problem.source >= 0) & (problem.target >= 0) & (problem.source != problem.target)
    one = np.concatenate([problem.source[inner], problem.target[inner]]).astype(np.int64)
    other = np.concatenate([problem.target[inner], problem.source[inner]])
    keys, where = np.unique(one * problem.nodes + other, return_inverse=True)
    weights = np.bincount(where, np.tile(problem.packets[inner], 2), len(keys))
    return (
        (keys // problem.nodes).astype(np.int32),
        (keys % problem.nodes).astype(np.int32),
        weights.astype(np.float64),
    )


def _host_partners(problem: PlacementProblem) -> tuple[Int32Array, FloatArray]:
    """Core programs that exchange packets with the host, and how many."""
    hosted = (problem.source < 0) != (problem.target < 0)
    partners = np.maximum(problem.source, problem.target)[hosted]
    nodes, where = np.unique(partners, return_inverse=True)
    return nodes, np.bincount(where, problem.packets[hosted], len(nodes)).astype(np.float64)


def _nearest(
    one: Int32Array, other: Int32Array, weights: FloatArray, distances: FloatArray
) -> float:
    """Sum over all nodes of their weights, the heaviest first, times ``distances``."""
    order = np.lexsort((other, -weights, one))
    starts = np.flatnonzero(np.diff(one[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return float(weights[order] @ distances[rank])


def _distances(problem: PlacementProblem, nodes: Int32Array) -> FloatArray:
    """Lower bounds on the cost to the nearest, second nearest, ... fellow core, wherever one is."""
    most = int(np.bincount(nodes).max(initial=0))
    tiles = np.unique(problem.slot_tiles)
    if len(tiles) > max(1, EXACT_TILES):
        return _endless(problem, most)
    found = np.full(most, np.inf)
    for tile in tiles.tolist():
        y, x = divmod(tile, problem.columns)
        found = np.minimum(found, np.sort(_from_tile(problem, x, y))[1 : most + 1])
    return found


def _endless(problem: PlacementProblem, most: int) -> FloatArray:
    """The same on an endless mesh whose tiles are as full as the fullest, at the cheapest hops."""
    per_tile = int(np.bincount(problem.slot_tiles).max())
    across = float(problem.column_costs.min(initial=np.inf))
    down = float(problem.row_costs.min(initial=np.inf))
    cheapest = min(across, down)
    across, down = (cost if np.isfinite(cost) else cheapest for cost in (across, down))
    reach = 1
    while True:
        steps = np.abs(np.arange(-reach, reach + 1))
        ways = np.sort((across * steps[:, None] + down * steps).ravel())
        # what lies beyond the square costs more than `reach` of the cheaper hops
        inside = ways[ways <= cheapest * reach]
        slots = np.repeat(inside, per_tile)[1:]
        if len(slots) >= most:
            return slots[:most]
        reach *= 2


def _from_tile(problem: PlacementProblem, column: int, row: int) -> FloatArray:
    """``(slots,)`` cost of the way from a tile to every usable core."""
    y, x = np.divmod(problem.slot_tiles, problem.columns)
    at_x = np.append(0.0, np.cumsum(problem.column_costs))
    at_y = np.append(0.0, np.cumsum(problem.row_costs))
    return np.asarray(np.abs(at_x[x] - at_x[column]) + np.abs(at_y[y] - at_y[row]))


def _lines(problem: PlacementProblem, weights: npt.NDArray[np.float64]) -> float:
    """The bound of one connected part with the symmetric ``weights``, over both axes."""
    laplacian = np.diag(weights.sum(axis=1)) - weights
    eigenvalues = np.linalg.eigvalsh(laplacian)
    rounding = 1e-12 * len(weights) * float(eigenvalues[-1])
    connectivity = max(0.0, float(eigenvalues[1]) - rounding)
    tile_y, tile_x = np.divmod(problem.slot_tiles, problem.columns)
    cheapest_x = min(problem.column_costs.tolist(), default=0.0)
    cheapest_y = min(problem.row_costs.tolist(), default=0.0)
    across = cheapest_x * _fewest_cut(len(weights), int(np.bincount(tile_x).max()))
    down = cheapest_y * _fewest_cut(len(weights), int(np.bincount(tile_y).max()))
    return connectivity * (across + down)


def _fewest_cut(nodes: int, per_line: int) -> float:
    """Least sum of ``k (n - k) / n`` over the lines, if up to ``per_line`` nodes lie between two.

    The summand is concave, so the least sum has all gaps full but one, at some place.
    """
    full, rest = divmod(nodes, per_line)
    sums = []
    for short in range(full + 1):
        gaps = np.full(full + 1, per_line)
        gaps[short] = rest
        k = np.cumsum(gaps)[:-1]
        if rest == 0:
            k = np.arange(1, full) * per_line
        sums.append(float((k * (nodes - k)).sum()) / nodes)
    return min(sums)
