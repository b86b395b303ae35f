"""Placement of layered cluster graphs beside a Hilbert curve and force-directed refinement of it.

python benchmarks/bench_place.py [--quick] [--json FILE]

One core per tile, all hops alike, as many clusters as cores. Packets take x-then-y routes. The peer
``hilbert + FD`` (:mod:`force_directed`) is run with a linear and with a quadratic potential; all of
its figures are those of the potential with fewer weighted hops. The limit of weighted hops is the
certified lower bound, that of the duration what a user is ready to wait. Durations are processor
time with kernels compiled; ours include everything from the list of flows on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from force_directed import refine
from place_graphs import convolution, dense
from results import Row, row, write

from mapping.ir.quantized import Int32Array
from mapping.placement import PLACERS, PlacementProblem, Search
from mapping.placement.bound import LowerBound, lower_bound
from mapping.placement.loads import link_loads, longest_path

GRAPHS: dict[str, tuple[Callable[[int], PlacementProblem], tuple[int, ...]]] = {
    "dense": (dense, (16, 32, 64, 128)),
    "CNN": (convolution, (32, 64, 128)),
}
QUICK = (16, 32)
"""Sides of the meshes of ``--quick``."""
PATIENCE_S = {128: 0.2, 1024: 1.5, 16384: 20.0}
"""How long a user is ready to wait for the placement of so many cores [s]."""

Placing = Callable[[PlacementProblem], Int32Array]


def ours(problem: PlacementProblem) -> Int32Array:
    """The default placer."""
    return PLACERS.get("anneal")(problem, Search())


def hilbert(problem: PlacementProblem) -> Int32Array:
    """Clusters in order along a Hilbert curve."""
    return PLACERS.get("hilbert")(problem, Search())


def force_directed(problem: PlacementProblem, *, quadratic: bool) -> Int32Array:
    """Force-directed refinement of the Hilbert curve."""
    flows = np.stack([problem.source, problem.target], axis=1).astype(np.int64)
    start = hilbert(problem).astype(np.int64)
    args = problem.columns, problem.rows, flows, problem.packets, start
    return refine(*args, quadratic=quadratic).astype(np.int32)


def measured(problem: PlacementProblem, place: Placing) -> dict[str, float]:
    """Figures of a placement, by metric."""
    start = time.process_time()
    slots = place(problem)
    seconds = time.process_time() - start
    assert len(np.unique(slots)) == problem.nodes, "two clusters share a core"
    loads = link_loads(problem, slots)
    hops = problem.cost(slots)
    assert np.isclose(loads.sum(), hops), "the links carry something else"
    return {
        "weighted hops": hops,
        "longest path": longest_path(problem, slots),
        "busiest link": float(loads.max()),
        "duration": seconds,
    }


def bench_graph(case: str, problem: PlacementProblem) -> list[Row]:
    """All metrics of one graph."""
    found = measured(problem, ours)
    refined = [
        measured(problem, lambda p, q=quadratic: force_directed(p, quadratic=q))
        for quadratic in (False, True)
    ]
    peers = {
        "hilbert": measured(problem, hilbert),
        "hilbert + FD": min(refined, key=lambda figures: figures["weighted hops"]),
    }
    bound = lower_bound(problem)
    return [
        row(
            f"{case}, {problem.nodes:,} cores",
            metric,
            unit,
            found[metric],
            {name: figures[metric] for name, figures in peers.items()},
            _limit(metric, problem, bound),
        )
        for metric, unit in (
            ("weighted hops", "packets x hops"),
            ("longest path", "hops"),
            ("busiest link", "packets"),
            ("duration", "s"),
        )
    ] + [row(f"{case}, {bound.name} bound", "gap", "of the hops", _gap(found, bound), {})]


def _limit(metric: str, problem: PlacementProblem, bound: LowerBound) -> float | None:
    if metric == "duration":
        return PATIENCE_S.get(problem.nodes)
    return bound.value if metric == "weighted hops" else None


def _gap(found: dict[str, float], bound: LowerBound) -> float:
    return 1 - bound.value / found["weighted hops"]


def bench_128() -> list[Row]:
    """The duration for the cores of one chip of 128: half of the layers of a dense graph."""
    whole = dense(16)
    inner = (whole.source < 128) & (whole.target < 128)
    flows = np.stack([whole.source, whole.target], axis=1)[inner].astype(np.int64)
    problem = PlacementProblem.on_grid(16, 8, flows, whole.packets[inner])
    seconds = measured(problem, ours)["duration"]
    return [row("dense 16x8, 128 cores", "duration", "s", seconds, {}, PATIENCE_S[128])]


def bench(*, quick: bool) -> list[Row]:
    """The rows of all graphs; kernels are compiled before."""
    warm = dense(8)
    for place in (ours, lambda p: force_directed(p, quadratic=False)):
        measured(warm, place)
    rows = bench_128()
    for name, (graph, sides) in GRAPHS.items():
        for side in sides:
            if not quick or side in QUICK:
                rows += bench_graph(f"{name} {side}x{side}", graph(side))
    return rows


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = bench(quick=options.quick)
    for r in rows:
        ratios = {**r["peers"], "limit": r["limit"]}
        beside = ", ".join(f"{r['ours'] / of:.3g} × {n}" for n, of in ratios.items() if of)
        figure = f"{r['case']}: {r['metric']} {r['ours']:,.4g} {r['unit']}"
        print(figure + (f" = {beside}" if beside else ""))
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy"))


if __name__ == "__main__":
    main()
