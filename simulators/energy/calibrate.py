"""Fit a target's constants to measured energies, by non-negative least squares.

The energy of an inference is linear in the constants: counts × energy per action, plus static
power × time where the measurements are totals. Errors of measured energies are relative, so every
row is divided by its energy. Only constants that the measurements determine are fitted: columns are
taken in the order of their share of the energy (QR with pivoting, each scaled by the constant that
it starts from) until what the next one adds that the others could not say is below
:data:`TELLING`; then the constant that the scatter about the fit leaves least certain is dropped,
again and again, until every interval is narrower than the constant that it started from (times the
median of measured by expected energy, as a base may be off as a whole). The rest keep the base's
values, and their part of the energy is subtracted first.

The interval of a fitted constant is one of 95 %: the jackknife's standard error times Student's t,
and, squares added, what the fit would move by if a kept constant were off by the base's factor.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr
from scipy.optimize import nnls
from scipy.special import stdtrit

from mapping.artifact.atomic import atomic_file
from mapping.cost import FloatArray
from mapping.descriptions import SUFFIX
from mapping.errors import ConfigError
from mapping.targets.figures import Constant
from mapping.targets.load import files_of
from mapping.targets.spec import ChipSpec
from simulators.energy.measurements import PRICED_ACTIONS, Measurements

IntArray = npt.NDArray[np.integer[Any]]
TELLING = 1e-3
"""Of the largest column: a column that differs less from the others cannot be told from them."""
LARGEST_MISS = 1e6
"""A measurement this many times the base's energy, or a part as small, is in another unit."""
_SMALLEST_J = 1e-13
"""Scale of a constant that starts from zero [J]."""
_CONFIDENCE = 0.975
"""Of either side of an interval."""
Why = Literal["fitted", "does not occur", "is tied to others", "is lost in the scatter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedConstant:
    """One constant before and after.

    Attributes:
        name: in a target file.
        base: value of the base [J, or W].
        value: the new one.
        factor: within which it lies, the base's unless it was fitted; 1 if it was fitted to zero,
            the bound of the fit, of which no factor can tell how far the truth lies above.
        why: whether it was fitted, and if not, why it could not be.
    """

    name: str
    base: float
    value: float
    factor: float
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A fit.

    Attributes:
        target: what the fit started from.
        measurements: what it was made on.
        constants: all that could have been fitted.
        errors: ``(rows,)`` relative error of the fit at each measurement.
        left_out_errors: ``(rows,)`` relative error at each measurement of a fit without it.
        base_errors: ``(rows,)`` the same of the base.
    """

    target: str
    measurements: Measurements
    constants: tuple[FittedConstant, ...]
    errors: FloatArray
    left_out_errors: FloatArray
    base_errors: FloatArray

    def as_dict(self) -> dict[str, object]:
        """The content of ``calibrate --json``."""
        absolute = np.abs(self.left_out_errors)
        return {
            "target": self.target,
            "measurements": self.measurements.rows,
            "sha256": self.measurements.sha256,
            "constants": [
                {
                    "name": c.name,
                    "base": c.base,
                    "value": c.value,
                    "factor": c.factor,
                    "why": c.why,
                }
                for c in self.constants
            ],
            "mean_left_out_error": float(absolute.mean()),
            "largest_left_out_error": float(absolute.max()),
            "per_measurement": [
                {"error": fit, "left_out_error": left_out, "base_error": base}
                for fit, left_out, base in zip(
                    self.errors.tolist(),
                    self.left_out_errors.tolist(),
                    self.base_errors.tolist(),
                    strict=True,
                )
            ],
        }

    def target_file(self, name: str, base: str) -> str:
        """The new target as TOML text.

        Args:
            name: its name.
            base: name or file of what the fit started from.
        """
        absolute = np.abs(self.left_out_errors)
        source = (
            f"fitted by adlrns-map calibrate {version('adlrns')} on {self.measurements.file.name} "
            f"(sha256 {self.measurements.sha256}, {self.measurements.rows} measurements; "
            f"leave-one-out error {absolute.mean():.2%} on average, {absolute.max():.2%} at most)"
        )
        at_bound = "; at the bound of the fit, of which no interval is known"
        lines = [
            f"base = {json.dumps(base)}",
            f"name = {json.dumps(name)}",
            f"description = {json.dumps(f'{self.target} with constants fitted to measurements')}",
        ]
        for constant in self.constants:
            if constant.why == "fitted":
                lines += [
                    "",
                    f"[{constant.name}]",
                    f"value = {constant.value!r}",
                    'status = "fit"',
                    f"source = {json.dumps(source if constant.value else source + at_bound)}",
                    f"factor = {constant.factor!r}",
                ]
        return "\n".join(lines) + "\n"

    def save(self, file: Path, target: str) -> None:
        """Write the new target, whole or not at all, named after the file.

        Args:
            file: ends in ``.toml``.
            target: name or file that the fit started from.

        Raises:
            ConfigError: the file has another ending (ADL-CAL-05), or the fit started from it
                (ADL-CAL-07).
        """
        if file.suffix != SUFFIX:
            raise ConfigError(
                "a target file ends in .toml",
                where=str(file),
                remedy=f"write to {file.with_suffix(SUFFIX)}",
                code="ADL-CAL-05",
            )
        if file.resolve() in files_of(target):
            raise ConfigError(
                f"{target} rests on this file, and so would the new target, which replaces it",
                where=str(file),
                remedy="write to another file",
                code="ADL-CAL-07",
            )
        base = target
        if target.endswith(SUFFIX):
            base = os.path.relpath(Path(target).resolve(), file.parent.resolve())
        text = self.target_file(file.stem, base)
        with atomic_file(file) as work:
            work.write_text(text, "utf-8")


def calibrate(chip: ChipSpec, measurements: Measurements) -> Calibration:
    """Fit the energies of ``chip``, and its static power where measurements are totals.

    Raises:
        ConfigError: there are not more measurements than constants to fit (ADL-CAL-04), one is out
            of all proportion to what it counts (ADL-CAL-06), or they scatter so much that none of
            the constants can be told (ADL-CAL-08).
    """
    start = _start(chip, totals=bool(measurements.chip_s.any()))
    base = np.array([constant.value for constant in start.values()])
    work = np.concatenate([measurements.counts, measurements.chip_s[:, None]], axis=1)
    work = work[:, : base.size]
    _check_proportion(chip, measurements, expected_j=work @ _scale(base))
    relative = work / measurements.energy_j[:, None]
    told = _told_apart(relative, base)
    if measurements.rows <= told.size:
        raise ConfigError(
            f"{measurements.rows} measurements cannot fit {told.size} constants "
            f"({', '.join(np.array(list(start))[told])}) and tell how well",
            where=str(measurements.file),
            remedy=f"measure at least {told.size + 1} programs that differ in what they do",
            code="ADL-CAL-04",
        )
    chosen = _certain(relative, base, told)
    if chosen.size == 0:
        raise ConfigError(
            "the energies scatter so much about any fit that no constant is certain",
            where=str(measurements.file),
            remedy="check that each energy stands beside its own program, measure more, or start "
            "from a target nearer to the chip",
            code="ADL-CAL-08",
        )
    everything = np.arange(measurements.rows)
    values = _fit(relative, base, chosen)
    without = np.stack([_fit(relative[everything != row], base, chosen) for row in everything])
    factors = np.array([constant.factor for constant in start.values()])
    factors[chosen] = _factors(relative, base * (factors - 1), chosen, values, without)
    return Calibration(
        target=chip.name,
        measurements=measurements,
        constants=tuple(
            FittedConstant(
                name=name,
                base=float(base[k]),
                value=float(values[k]),
                factor=float(factors[k]),
                why=_why(k, relative, told, chosen),
            )
            for k, name in enumerate(start)
        ),
        errors=relative @ values - 1,
        left_out_errors=np.einsum("rk,rk->r", relative, without) - 1,
        base_errors=relative @ base - 1,
    )


def _check_proportion(
    chip: ChipSpec, measurements: Measurements, *, expected_j: FloatArray
) -> None:
    """Refuse measurements that no constants near those of ``chip`` can explain."""
    for row, (energy_j, own_j) in enumerate(zip(measurements.energy_j, expected_j, strict=True)):
        if not energy_j / LARGEST_MISS <= own_j <= energy_j * LARGEST_MISS:
            raise ConfigError(
                f"{energy_j:g} J were measured, where {chip.name} expects {own_j:g} J of what is "
                "counted",
                where=f"{measurements.file}, measurement {row + 1}",
                remedy="give energies in joules and what happened in one inference",
                code="ADL-CAL-06",
            )


def _start(chip: ChipSpec, *, totals: bool) -> dict[str, Constant]:
    """The constants of ``chip`` that measurements may tell of, by name."""
    found: dict[str, Constant] = {
        f"energy_j.{action}": getattr(chip.energy_j, action) for action in PRICED_ACTIONS
    }
    if totals:
        found["static_power_w"] = chip.static_power_w
    return found


def _scale(base: FloatArray) -> FloatArray:
    """What constants are measured by: those that they start from."""
    return np.maximum(base, _SMALLEST_J)


def _told_apart(relative: FloatArray, base: FloatArray) -> IntArray:
    """Rising numbers of the constants that exact measurements would determine."""
    _, triangle, order = qr(relative * _scale(base), mode="economic", pivoting=True)
    news = np.abs(np.diag(triangle))
    return np.sort(order[: int((news > TELLING * news[0]).sum())])


def _certain(relative: FloatArray, base: FloatArray, chosen: IntArray) -> IntArray:
    """Those of ``chosen`` whose intervals are narrower than the constants that they start from."""
    off = np.median(1 / (relative @ _scale(base)))
    while chosen.size:
        freedom = len(relative) - chosen.size
        misses = relative @ _fit(relative, base, chosen) - 1
        scatter = math.sqrt(float(misses @ misses) / freedom)
        solve = np.linalg.pinv(relative[:, chosen] * _scale(base[chosen]))
        widths = stdtrit(freedom, _CONFIDENCE) * scatter * np.linalg.norm(solve, axis=1)
        if widths.max() <= off:
            break
        chosen = np.delete(chosen, widths.argmax())
    return chosen


def _why(k: int, relative: FloatArray, told: IntArray, chosen: IntArray) -> Why:
    if k in chosen:
        return "fitted"
    if k in told:
        return "is lost in the scatter"
    return "is tied to others" if relative[:, k].any() else "does not occur"


def _fit(relative: FloatArray, base: FloatArray, chosen: IntArray) -> FloatArray:
    """All constants, those ``chosen`` fitted."""
    kept = np.delete(np.arange(base.size), chosen)
    scale = _scale(base[chosen])
    wanted = 1 - relative[:, kept] @ base[kept]
    found, _ = nnls(relative[:, chosen] * scale, wanted)
    values = base.copy()
    values[chosen] = found * scale
    return values


def _factors(
    relative: FloatArray,
    doubts: FloatArray,
    chosen: IntArray,
    values: FloatArray,
    without: FloatArray,
) -> FloatArray:
    """Within which the constants ``chosen`` lie, rounded up to hundredths.

    Args:
        relative: ``(rows, constants)`` counts by measured energy [1/J].
        doubts: ``(constants,)`` how far each may be from the base's value, if it is kept [J].
        chosen: numbers of the fitted ones.
        values: ``(constants,)`` the fit [J].
        without: ``(rows, constants)`` fits without one row [J].
    """
    rows = len(relative)
    own = values[chosen]
    kept = np.delete(np.arange(values.size), chosen)
    spread = without[:, chosen] - without[:, chosen].mean(axis=0)
    error = np.sqrt((rows - 1) / rows * (spread**2).sum(axis=0))
    columns, doubted = relative[:, chosen], relative[:, kept] * doubts[kept]
    size = np.linalg.norm(columns, axis=0)
    moved = np.linalg.pinv(columns / size) @ doubted / size[:, None]
    halves = np.sqrt(
        (stdtrit(rows - chosen.size, _CONFIDENCE) * error) ** 2 + (moved**2).sum(axis=1)
    )
    shares = np.divide(halves, own, out=np.zeros_like(own), where=own > 0)
    return np.asarray(np.ceil(100 * (1 + shares)) / 100)
