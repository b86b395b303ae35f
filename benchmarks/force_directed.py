"""Force-directed refinement of a placement, rebuilt after Jin et al., ASPLOS 2023.

The paper starts from a Hilbert curve. Clusters pull at each other; the *tension* of two adjacent
cells is what swapping them would save. Cells of positive tension are queued, the tightest first;
the first ``SHARE`` of the queue is swapped, where the swap still saves something, and forces are
computed anew, until no tension is left. The potential is linear in the distance, or quadratic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

SHARE = 0.3
"""Part of the queue that is swapped before the forces are computed anew."""
LEAST_GAIN = 1e-9
"""Tension below which rounding decides."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def refine(
    columns: int,
    rows: int,
    flows: npt.NDArray[np.int64],
    packets: Floats,
    cells: Ints,
    *,
    quadratic: bool = False,
) -> Ints:
    """Cells of all clusters after refinement.

    Args:
        columns, rows: size of the mesh; every cell holds one cluster.
        flows: ``(flows, 2)`` senders and receivers; packets: ``(flows,)``.
        cells: ``(columns * rows,)`` cell of each cluster, numbered along x, then along y.
        quadratic: whether the pull of a flow grows with its length.
    """
    both = np.concatenate([flows, flows[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    starts = np.searchsorted(both[order, 0], np.arange(columns * rows + 1))
    weights = np.concatenate([packets, packets])[order]
    y, x = np.divmod(cells.astype(np.int64), columns)
    cluster_at = np.argsort(cells)
    graph = starts, both[order, 1], weights
    while True:
        tension = _tensions(*graph, x, y, cluster_at, columns, rows, quadratic)
        queue = np.argsort(-tension, kind="stable")[: int((tension > LEAST_GAIN).sum())]
        if not len(queue):
            return y * columns + x
        first = queue[: max(1, int(SHARE * len(queue)))]
        _swap(*graph, x, y, cluster_at, columns, first, quadratic)


@njit(cache=True)
def _tension(
    starts: Ints, partners: Ints, weights: Floats, x: Ints, y: Ints, a: int, b: int, quadratic: bool
) -> float:
    """What is saved when clusters ``a`` and ``b`` swap their places."""
    saved = 0.0
    for here, there in ((a, b), (b, a)):
        for k in range(starts[here], starts[here + 1]):
            j = partners[k]
            if j != there:
                dx, dy = abs(x[here] - x[j]), abs(y[here] - y[j])
                then_x, then_y = abs(x[there] - x[j]), abs(y[there] - y[j])
                if quadratic:
                    saved += weights[k] * (dx * dx + dy * dy - then_x * then_x - then_y * then_y)
                else:
                    saved += weights[k] * (dx + dy - then_x - then_y)
    return saved


@njit(cache=True)
def _tensions(
    starts: Ints,
    partners: Ints,
    weights: Floats,
    x: Ints,
    y: Ints,
    cluster_at: Ints,
    columns: int,
    rows: int,
    quadratic: bool,
) -> Floats:
    """``(2 * cells,)`` of each cell and the one to its right, then and the one below it."""
    cells = columns * rows
    found = np.zeros(2 * cells)
    for cell in range(cells):
        if cell % columns < columns - 1:
            a, b = cluster_at[cell], cluster_at[cell + 1]
            found[cell] = _tension(starts, partners, weights, x, y, a, b, quadratic)
        if cell < cells - columns:
            a, b = cluster_at[cell], cluster_at[cell + columns]
            found[cells + cell] = _tension(starts, partners, weights, x, y, a, b, quadratic)
    return found


@njit(cache=True)
def _swap(
    starts: Ints,
    partners: Ints,
    weights: Floats,
    x: Ints,
    y: Ints,
    cluster_at: Ints,
    columns: int,
    queue: Ints,
    quadratic: bool,
) -> None:
    cells = len(cluster_at)
    for pair in queue:
        cell = pair % cells
        other = cell + (1 if pair < cells else columns)
        a, b = cluster_at[cell], cluster_at[other]
        if _tension(starts, partners, weights, x, y, a, b, quadratic) > LEAST_GAIN:
            cluster_at[cell], cluster_at[other] = b, a
            x[a], x[b] = x[b], x[a]
            y[a], y[b] = y[b], y[a]
