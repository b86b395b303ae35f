"""This machine's seconds per turn of each path, measured once and kept in the user's cache."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mapping.artifact.atomic import atomic_file
from mapping.errors import ArtifactError
from simulators.kernels.job import BY_BFLOAT16, FEATURES, PATHS, ROUNDS
from simulators.kernels.layout import Float64Array, PackedFactors

CALLS = 160
"""Of random sizes, that are timed."""
LARGEST = 4096
"""Inputs and outputs of the largest."""
LARGEST_RANK = 256
MOST_SAMPLES = 1024
ACTIVITIES = (1.0, 0.3, 0.1, 0.02)
MOST_PASSES, FASTER, FEW = 5, 0.95, 0.05
"""All calls are timed twice or more, up to so often, until few of them, such a share, take less
than so much of their least time; what else the machine does meanwhile comes in phases of seconds.
"""
SPAN_S, REPEATS, ENOUGH_S = 2e-5, 7, 5e-3
"""Calls are timed in spans of about that length, so many of them or until that much time is spent;
the fastest counts, by a clock that stands still while others have the core."""


def machine_key() -> str:
    """Names the CPU, what kernels use of it, the versions and the kernels that figures hold for."""
    import llvmlite.binding as llvm

    from simulators.kernels.permission import may_multiply
    from simulators.kernels.vector import BFLOAT16, LANES, MATRICES

    folder = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    parts = (
        platform.machine(),
        llvm.get_host_cpu_name(),
        str((LANES, BFLOAT16, MATRICES, may_multiply())),
        *(version(name) for name in ("numba", "llvmlite", "numpy")),
        sha256(sources).hexdigest(),
    )
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def cache_file() -> Path:
    """Where the figures are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, folder ``adlrns``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "adlrns" / f"low-rank-{machine_key()}.json"


@cache
def seconds_per_turn() -> Float64Array:
    """Seconds by path and feature, shape (paths, FEATURES): from the cache, else measured now."""
    path = cache_file()
    try:
        found = np.array(json.loads(path.read_text())["seconds_per_turn"], np.float64)
        if found.shape == (len(PATHS), FEATURES) and np.isfinite(found).all():
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass  # None yet, or not one of ours: measured and written anew.
    found = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as work:
            work.write_text(json.dumps({"seconds_per_turn": found.tolist()}) + "\n")
    except (OSError, ArtifactError):
        pass  # A cache that cannot be written costs the next process some seconds, nothing else.
    return found


def measure() -> Float64Array:
    """Time every path on calls of many sizes, on one thread, and fit seconds per turn.

    Non-negative least squares of the relative error, so that small calls count as much as large
    ones.
    """
    from scipy.optimize import nnls

    paths, turns, seconds = zip(*_timed_calls(), strict=True)
    fastest = np.array(seconds)
    for _ in range(MOST_PASSES - 1):
        before, again = fastest, [found for *_, found in _timed_calls()]
        fastest = np.minimum(before, again)
        if np.mean(fastest < FASTER * before) < FEW:
            break
    fitted = np.zeros((len(PATHS), FEATURES))
    for number, path in enumerate(PATHS):
        own = np.array(paths) == path
        if own.any():  # Else no call may take it.
            relative = np.array(turns)[own] / fastest[own, None]
            size = relative.max(axis=0)
            size[size == 0] = 1
            fitted[number] = nnls(relative / size, np.ones(len(relative)))[0] / size
    return fitted


def _timed_calls() -> list[tuple[str, Float64Array, float]]:
    """Path, counts and seconds of the same random calls each time."""
    rng = np.random.default_rng(0)
    return [found for _ in range(CALLS) for found in _timed(rng)]


def _timed(rng: np.random.Generator) -> list[tuple[str, Float64Array, float]]:
    """Path, counts and seconds of a random call on every path that calls may take."""
    from simulators.kernels.model import count_turns
    from simulators.kernels.workspace import Workspace

    outputs, inputs = (_log_uniform(rng, 32, LARGEST) for _ in range(2))
    r_max = _log_uniform(rng, 8, min(outputs, inputs, LARGEST_RANK))
    batch = _log_uniform(rng, 1, MOST_SAMPLES)
    share = rng.choice(ACTIVITIES)
    U, V = (rng.random((width, r_max), np.float32) for width in (outputs, inputs))
    factors = PackedFactors(U, V, bfloat16=True)
    ranks = rng.integers(0, rng.integers(1, r_max, endpoint=True), batch, endpoint=True)
    x = rng.random((batch, inputs), np.float32)
    x[x >= share] = 0
    out = np.empty((batch, outputs), np.float32)
    workspace, nothing = Workspace(factors, batch), np.empty(0, np.float32)
    count_turns(workspace.job.ctypes.data, ranks, share)
    found = []
    for number, path in enumerate(PATHS):
        if number == BY_BFLOAT16 and not workspace.job[ROUNDS]:
            continue
        workspace.lay_out(path)
        call = partial(workspace.run, workspace.job, ranks, x, nothing, nothing, out)
        seconds = _fastest(partial(call, number, 1))
        found.append((path, workspace.turns[number].copy(), seconds))
    return found


def _log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    """A size whose logarithm is uniform."""
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of a call in the fastest of some spans, after one call to warm up."""
    call()
    once = _span(call, 1)
    calls = max(1, round(SPAN_S / max(once, 1e-7)))
    spans = min(REPEATS, max(1, int(ENOUGH_S / max(once * calls, 1e-7))))
    return min(_span(call, calls) for _ in range(spans))


def _span(call: Callable[[], object], calls: int) -> float:
    """Seconds of a call, so many made in a row."""
    start = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - start) / calls
