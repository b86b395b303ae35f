"""Link loads and path lengths of x-then-y routes, without listing the routes."""

from __future__ import annotations

import numpy as np

from mapping.ir.network import FloatArray
from mapping.ir.quantized import Int32Array
from mapping.placement.problem import PlacementProblem


def link_loads(problem: PlacementProblem, slots: Int32Array) -> FloatArray:
    """``(4, rows, columns)`` packets per step on the link out of each tile, by direction."""
    x, y = problem.tiles(slots)
    from_x, from_y, to_x, to_y = (a[b] for b in (problem.source, problem.target) for a in (x, y))
    shape = (problem.rows, problem.columns)

    def along(lines: Int32Array, begin: Int32Array, end: Int32Array, length: int) -> FloatArray:
        """Packets over each place of ``begin .. end - 1`` (end > begin) along lines."""
        chosen, weights = end > begin, problem.packets
        keys = lines[chosen].astype(np.int64) * (length + 1)
        size = (lines.max(initial=0) + 1) * (length + 1)
        steps = np.bincount(keys + begin[chosen], weights[chosen], size)
        steps -= np.bincount(keys + end[chosen], weights[chosen], size)
        return steps.reshape(-1, length + 1).cumsum(axis=1)[:, :length]

    loads = np.zeros((4, *shape))
    columns, rows = problem.columns, problem.rows
    for direction, (lines, begin, end, length) in enumerate(
        (
            (from_y, from_x, to_x, columns),
            (from_y, to_x + 1, from_x + 1, columns),
            (to_x, from_y, to_y, rows),
            (to_x, to_y + 1, from_y + 1, rows),
        )
    ):
        found = along(lines, begin, end, length)
        if direction < 2:
            loads[direction, : len(found)] = found
        else:
            loads[direction, :, : len(found)] = found.T
    return loads


def longest_path(problem: PlacementProblem, slots: Int32Array) -> int:
    """Most hops of a flow that carries packets."""
    x, y = problem.tiles(slots)
    hops = np.abs(x[problem.source] - x[problem.target])
    hops += np.abs(y[problem.source] - y[problem.target])
    return int(hops[problem.packets > 0].max(initial=0))
