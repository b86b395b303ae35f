"""Measured energies of programs: one CSV row per measurement.

The column ``energy_j`` is the energy of an inference [J]. What the program did comes from columns
named after the actions of an energy table, each a count per inference; or from ``program`` and
``trace``, an artifact's folder and the trace of a run, with paths that are relative to the CSV.

Without ``latency_s`` the energies are dynamic: what the idle chip takes has been subtracted. With
``latency_s``, the measured duration of an inference [s], they are totals of whole ``chips``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np

from mapping.artifact.read import load_artifact
from mapping.cost import FloatArray
from mapping.errors import ConfigError
from mapping.targets.spec import ChipSpec, EnergyTable
from simulators.energy.estimate import estimate_energy
from simulators.trace import load_trace

PRICED_ACTIONS = tuple(field.name for field in fields(EnergyTable))
"""What has an energy, and a column."""
_RUN = ("program", "trace")
_TIME = ("latency_s", "chips")
_POSITIVE = math.nextafter(0.0, 1.0)
Row = tuple[int, Mapping[str, str]]
"""Number of a line, and its entries by column."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurements:
    """Measured inferences.

    Attributes:
        file: where they stand.
        sha256: of that file.
        energy_j: ``(rows,)`` [J].
        counts: ``(rows, actions)`` in the order of :data:`PRICED_ACTIONS`.
        chip_s: ``(rows,)`` chips times duration [s], zeros where energies are dynamic.
    """

    file: Path
    sha256: str
    energy_j: FloatArray
    counts: FloatArray
    chip_s: FloatArray

    @property
    def rows(self) -> int:
        """Number of measurements."""
        return int(self.energy_j.size)


def load_measurements(file: Path, chip: ChipSpec) -> Measurements:
    """Read ``file``; ``chip`` says what is charged of a run.

    Raises:
        ConfigError: the file cannot be read (ADL-CAL-01), a column is missing, unknown or double
            (ADL-CAL-02), an entry is not the number that belongs there, or a row has more or fewer
            entries than there are columns (ADL-CAL-03); what loading a program or trace raises.
    """
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read as text ({error})",
            where=str(file),
            remedy="give a CSV file in UTF-8",
            code="ADL-CAL-01",
        ) from error
    columns, rows = _table(file, lines)

    def column(name: str, least: float, default: float) -> FloatArray:
        if name not in columns:
            return np.full(len(rows), default)
        return np.array([_number(file, line, name, row[name], least) for line, row in rows])

    if _RUN[0] in columns:
        counts = np.stack([_counts_of_run(file, line, row, chip) for line, row in rows])
    else:
        counts = np.stack([column(name, 0.0, 0.0) for name in PRICED_ACTIONS], axis=1)
    return Measurements(
        file=file,
        sha256=sha256(content).hexdigest(),
        energy_j=column("energy_j", _POSITIVE, 0.0),
        counts=counts,
        chip_s=column("latency_s", _POSITIVE, 0.0) * column("chips", 1.0, 1.0),
    )


def _table(file: Path, lines: list[str]) -> tuple[tuple[str, ...], list[Row]]:
    """The columns and rows of a CSV file, every row with an entry in every column."""
    reader = csv.reader(lines, strict=True)
    try:
        columns = _checked_columns([name.strip() for name in next(reader, [])], file)
        rows = [(reader.line_num, entries) for entries in reader if entries]
    except csv.Error as error:
        raise ConfigError(
            f"line {reader.line_num} is not CSV ({error})",
            where=str(file),
            remedy="separate the columns by commas, and quote entries that hold any",
            code="ADL-CAL-01",
        ) from error
    if not rows:
        raise ConfigError(
            "it holds no measurement",
            where=str(file),
            remedy="write one row per measured program below the names of the columns",
            code="ADL-CAL-01",
        )
    for line, entries in rows:
        if len(entries) != len(columns):
            raise ConfigError(
                f"{len(entries)} entries stand below {len(columns)} columns",
                where=f"{file}, line {line}",
                remedy="give one entry per column, with a point before decimals, not a comma",
                code="ADL-CAL-03",
            )
    return columns, [(line, dict(zip(columns, entries, strict=True))) for line, entries in rows]


def _checked_columns(names: list[str], file: Path) -> tuple[str, ...]:
    """``names``, if the rows can be understood by them."""
    by_run = any(name in names for name in _RUN)
    needed = ("energy_j", *(_RUN if by_run else PRICED_ACTIONS))
    known = (*needed, *_TIME)
    problems = _listed("missing", (n for n in needed if n not in names))
    problems += _listed("unknown", (n for n in names if n not in known))
    problems += _listed("double", dict.fromkeys(n for n in names if names.count(n) > 1))
    if "chips" in names and "latency_s" not in names:
        problems += ["chips counts only with latency_s"]
    if problems:
        raise ConfigError(
            f"columns: {'; '.join(problems)}",
            where=str(file),
            remedy="give energy_j, then program and trace, or else a count per inference of each "
            f"of {', '.join(PRICED_ACTIONS)}; with totals also latency_s and, if several, chips",
            code="ADL-CAL-02",
        )
    return tuple(names)


def _listed(what: str, names: Iterable[str]) -> list[str]:
    found = [repr(name) for name in names]
    return [f"{what} {', '.join(found)}"] if found else []


def _number(file: Path, line: int, name: str, text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (math.isfinite(value) and value >= least):
        raise ConfigError(
            f"{name} is {text!r}",
            where=f"{file}, line {line}",
            remedy="give a positive number" if least > 0 else "give a number of 0 or more",
            code="ADL-CAL-03",
        )
    return value


def _counts_of_run(file: Path, line: int, row: Mapping[str, str], chip: ChipSpec) -> FloatArray:
    """``(actions,)`` means per sample of what the trace of a row recorded."""
    program, trace = (file.parent / _path(file, line, name, row[name]) for name in _RUN)
    energy = estimate_energy(load_artifact(program), load_trace(trace), chip=chip)
    return np.array([energy.counts[name].sum() / energy.samples for name in PRICED_ACTIONS])


def _path(file: Path, line: int, name: str, text: str) -> str:
    if not text:
        raise ConfigError(
            f"{name} is empty",
            where=f"{file}, line {line}",
            remedy="give a path relative to the CSV file",
            code="ADL-CAL-03",
        )
    return text
