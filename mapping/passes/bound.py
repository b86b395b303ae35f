"""A certified lower bound on packets × hops, whatever the placement."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from mapping.ir.network import FloatArray
from mapping.ir.partitioned import HOST
from mapping.ir.routed import Routing
from mapping.targets.spec import MeshSpec


def degree_bound(routing: Routing, packets: FloatArray, mesh: MeshSpec) -> float:
    """Fewest hops per step that any placement of these core programs can reach.

    The *degree bound*: a core's partners at best fill the slots nearest to it, the heaviest
    nearest: ``cores_per_tile - 1`` slots without a hop, then ``4 d`` tiles at distance ``d``. Each
    flow between cores counts at both ends, hence the half; the host's partners, senders and
    receivers, at best fill the slots around its own, fixed tile.

    Args:
        routing: its flows; the routes themselves do not matter.
        packets: ``(flows,)`` packets per step.
        mesh: where the cores may go.
    """
    partners: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for source, target, amount in zip(routing.source, routing.target, packets, strict=True):
        if HOST in (source, target):
            partners[HOST][int(max(source, target))] += float(amount)
        elif source != target:
            partners[int(source)][int(target)] += float(amount)
            partners[int(target)][int(source)] += float(amount)
    total = 0.0
    for node, weights in partners.items():
        heaviest_first = np.sort(list(weights.values()))[::-1]
        if node == HOST:
            total += float(heaviest_first @ _from_tile(mesh, len(heaviest_first)))
        else:
            total += 0.5 * float(heaviest_first @ _from_anywhere(mesh, len(heaviest_first)))
    return total


def _from_tile(mesh: MeshSpec, slots: int) -> FloatArray:
    """Hops from the host's tile to its ``slots`` nearest cores, sorted."""
    y, x = np.mgrid[: mesh.rows, : mesh.columns]
    hops = np.abs(x - mesh.host_tile[0]) + np.abs(y - mesh.host_tile[1])
    return np.sort(np.repeat(hops.ravel(), mesh.cores_per_tile))[:slots].astype(np.float64)


def _from_anywhere(mesh: MeshSpec, slots: int) -> FloatArray:
    """Hops from a core to its ``slots`` nearest fellow cores on an endless mesh, sorted."""
    reach = 1 + int(np.sqrt(slots))
    rings = [np.full(mesh.cores_per_tile - 1, 0)]
    rings += [np.full(4 * d * mesh.cores_per_tile, d) for d in range(1, reach + 1)]
    return np.concatenate(rings)[:slots].astype(np.float64)
