"""Quantities for people: SI prefixes instead of powers of ten."""

from __future__ import annotations

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


_UNITS = {"j": "J", "s": "s", "w": "W"}


def unit_of(name: str) -> str:
    """Unit that a dotted name such as ``energy_j.spike`` says, empty if it says none."""
    suffixes = (part.rpartition("_")[2] for part in name.split("."))
    return next((_UNITS[suffix] for suffix in suffixes if suffix in _UNITS), "")


def si_prefix(largest: float) -> tuple[float, str]:
    """Factor and letter of the prefix that suits values up to ``largest``."""
    if largest == 0:
        return _PREFIXES[0]
    return next((p for p in _PREFIXES if abs(largest) >= p[0]), _PREFIXES[-1])


def with_prefix(value: float, unit: str, *, digits: int = 3) -> str:
    """``value`` in ``unit`` with an SI prefix and so many significant digits: ``2.54 µJ``."""
    rounded = float(f"{value:.{digits}g}")
    factor, prefix = si_prefix(rounded)
    return f"{float(f'{rounded / factor:.{digits}g}'):g} {prefix}{unit}"
