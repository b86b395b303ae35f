"""The flows of a placement problem as an undirected graph of integer weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapping.ir.quantized import Int32Array
from mapping.placement.problem import PlacementProblem

Int64Array = npt.NDArray[np.int64]

WEIGHT_UNITS = 2**28
"""The weights of the node that exchanges most packets add up to this."""
LEAST_PACKETS = 1e-200
"""Traffic below this is none."""
HOP_UNITS = 240
"""Cost of the cheapest hop."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedGraph:
    """Neighbours of every core program and, as node ``nodes``, of the host; sorted.

    Integers, so that costs add up without rounding, in any order, on any machine.

    Attributes:
        starts: ``(nodes + 2,)``; node ``i`` has the neighbours ``starts[i]:starts[i + 1]``.
        partners: ``(neighbours,)`` nodes; weights: packets both ways; ways: bit 0 if the node
            sends to its neighbour, bit 1 if it receives.
        prefix_x, prefix_y: cost of the way from column, or row, 0 to each.
    """

    starts: Int64Array
    partners: Int32Array
    weights: Int32Array
    ways: Int32Array
    prefix_x: Int64Array
    prefix_y: Int64Array

    @classmethod
    def of(cls, problem: PlacementProblem) -> WeightedGraph:
        """The graph of the flows that leave their core."""
        nodes = problem.nodes + 1
        moving = problem.source != problem.target
        source = np.where(problem.source < 0, nodes - 1, problem.source)[moving].astype(np.int64)
        target = np.where(problem.target < 0, nodes - 1, problem.target)[moving].astype(np.int64)
        packets = problem.packets[moving]
        keys = np.concatenate([source * nodes + target, target * nodes + source])
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        one, other = np.divmod(keys[order][first], nodes)
        twice = np.concatenate([packets, packets])[order]
        weights = np.add.reduceat(twice, first) if len(first) else np.zeros(0)
        ways = np.repeat([1, 2], len(source))[order]
        degrees = np.bincount(one, weights, nodes)
        most = float(degrees.max(initial=0.0))
        scale = WEIGHT_UNITS / most if most > LEAST_PACKETS else 0.0
        hops = np.concatenate([problem.column_costs, problem.row_costs])
        unit = HOP_UNITS / min(hops[hops > 0], default=1.0)
        return cls(
            starts=np.searchsorted(one, np.arange(nodes + 1)).astype(np.int64),
            partners=other.astype(np.int32),
            weights=np.rint(weights * scale).astype(np.int32),
            ways=(np.bitwise_or.reduceat(ways, first) if len(first) else np.zeros(0)).astype(
                np.int32
            ),
            prefix_x=_prefix(problem.column_costs * unit),
            prefix_y=_prefix(problem.row_costs * unit),
        )


def _prefix(costs: npt.NDArray[np.float64]) -> Int64Array:
    return np.append(0, np.cumsum(np.rint(costs).astype(np.int64)))
