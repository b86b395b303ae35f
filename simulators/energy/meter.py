"""Measure energy where a meter can be read, with ``zeus``; where none can, say so instead.

What is measured runs on the processor, so only meters that hold its energy are read: RAPL's of the
processor's packages and their memory, or that of a whole system on chip. An idle GPU beside it says
nothing about the work and is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from mapping.errors import MissingDependencyError

LEAST_S = 2.0
"""How long the work is repeated, so that the meter's resolution does not matter."""
_NONE = "zeus can read neither RAPL nor a system on chip's meter here (RAPL may need root)"
_SOC_FIELDS = {
    "total_energy_mj": "system on chip",
    "cpu_total_mj": "processor",
    "dram_mj": "memory",
}
"""What zeus calls the meters of Jetsons (the first) and of Apple's chips."""


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
    from zeus.exception import ZeusBaseError
    from zeus.monitor import ZeusMonitor

    try:
        monitor = ZeusMonitor(gpu_indices=[])
    except ZeusBaseError as error:
        return NoMeter(reason=f"zeus cannot read this machine's meters ({error})")
    packages = _packages(monitor)
    if not packages and not monitor.soc_is_present:
        return NoMeter(reason=_NONE)
    work()
    runs, start = 0, time.perf_counter()
    monitor.begin_window("work")
    while not runs or time.perf_counter() - start < least_s:
        work()
        runs += 1
    found = monitor.end_window("work")
    energies_j = _readings(found, packages)
    total_j = sum(energies_j.values())
    if total_j <= 0:
        return NoMeter(reason="this machine's meters stood still while the work ran")
    return Metered(
        meters=tuple(energies_j),
        energy_j=total_j / runs,
        seconds=float(found.time) / runs,
        runs=runs,
    )


def _packages(monitor: Any) -> list[int]:
    """The processor packages whose meters can be read.

    RAPL's zone ``psys`` holds the whole board, the packages included, and would count them twice.
    """
    zones = (getattr(monitor.cpus.cpus[i], "rapl_file", None) for i in monitor.cpu_indices)
    return [
        index
        for index, zone in zip(monitor.cpu_indices, zones, strict=True)
        if zone is None or zone.name != "psys"
    ]


def _readings(found: Any, packages: Sequence[int]) -> dict[str, float]:
    """Energy by meter [J]."""
    energies_j: dict[str, float] = {}
    for index in packages:
        energies_j[f"CPU {index}"] = float(found.cpu_energy[index])
        if index in (found.dram_energy or {}):
            energies_j[f"memory of CPU {index}"] = float(found.dram_energy[index])
    for field, name in _SOC_FIELDS.items():
        energy_mj = getattr(found.soc_energy, field, None)
        if energy_mj is not None:
            energies_j[name] = energy_mj * 1e-3
    return energies_j
