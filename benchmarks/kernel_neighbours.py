"""Shared calls right after another library's product, whose threads stay on the cores for a while.

OpenMP's and OpenBLAS's threads look for more work after a call, as ours do. Calls follow such a
product at once; those on all threads and those on one take turns, each timed by the wall's clock.
The row "median time" says what a call costs mostly; "mean time" counts those as well that waited
for a worker whose core another thread had taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from results import Row, row

SIZE = 512
"""Rows and columns of the matrices in the other libraries' products."""
ROUNDS, CALLS = 12, 25
"""Times that each number of threads has its turn, and how many calls in a row it makes then."""


def others() -> dict[str, Callable[[], object]]:
    """What goes before a call, by what it is called in a row."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    b = torch.from_numpy(a)
    return {
        "after calls of its own": lambda: None,
        "after torch": lambda: b @ b,
        "after numpy": lambda: a @ a,
    }


def bench_neighbours(
    case: str, shared: Callable[[], object], alone: Callable[[], object]
) -> list[Row]:
    """Rows of one call after each of the others.

    Args:
        case: what the call is called in the rows.
        shared: the call on all threads.
        alone: the same on one.
    """
    rows = []
    for name, before in others().items():
        times: dict[str, list[float]] = {"shared": [], "one thread": []}
        for _ in range(ROUNDS):
            for kind, run in (("shared", shared), ("one thread", alone)):
                times[kind] += [_microseconds_after(before, run) for _ in range(CALLS)]
        for metric, middle in (("median time", np.median), ("mean time", np.mean)):
            ours, one = (float(middle(found)) for found in times.values())
            rows.append(row(case, f"{metric} {name}", "µs", ours, {"one thread": one}))
    return rows


def _microseconds_after(before: Callable[[], object], run: Callable[[], object]) -> float:
    """Time of ``run`` alone, ``before`` having just returned."""
    before()
    start = time.perf_counter()
    run()
    return 1e6 * (time.perf_counter() - start)
