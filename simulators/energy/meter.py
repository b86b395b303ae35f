"""Measure energy where a meter can be read, with ``zeus``; where none can, say so instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from mapping.errors import MissingDependencyError

LEAST_S = 2.0
"""How long the work is repeated, so that the meter's resolution does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What a meter showed.

    Attributes:
        meters: which ones were read.
        energy_j: of one run, of all these devices together, what they take at rest included [J].
        seconds: duration of one run [s].
        runs: how often the work was repeated.
    """

    meters: tuple[str, ...]
    energy_j: float
    seconds: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMeter:
    """Nothing was measured, and why."""

    reason: str


def measure(work: Callable[[], object], *, least_s: float = LEAST_S) -> Metered | NoMeter:
    """Run ``work`` again and again between two readings of this machine's meters.

    Args:
        work: what to measure; run once before to warm up.
        least_s: for how long at least [s].

    Raises:
        MissingDependencyError: ADL-DEP-03, ``zeus`` is not installed.
    """
    if find_spec("zeus") is None:
        raise MissingDependencyError(
            "zeus, which reads energy meters, is not installed",
            where="meter",
            remedy="pip install 'adlrns[meter]'",
            code="ADL-DEP-03",
        )
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor()
    meters = (
        *(f"GPU {number}" for number in monitor.gpu_indices),
        *(f"CPU {number}" for number in monitor.cpu_indices),
    )
    if not meters:
        return NoMeter(reason="zeus finds neither NVML, AMDSMI nor RAPL on this machine")
    work()
    runs, start = 0, time.perf_counter()
    monitor.begin_window("work")
    while not runs or time.perf_counter() - start < least_s:
        work()
        runs += 1
    found = monitor.end_window("work")
    energies = [*found.gpu_energy.values(), *(found.cpu_energy or {}).values()]
    return Metered(
        meters=meters,
        energy_j=sum(map(float, energies)) / runs,
        seconds=float(found.time) / runs,
        runs=runs,
    )
