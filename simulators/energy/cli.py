"""The commands about energy, beside ``energy`` itself, that this package adds to ``adlrns-map``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from mapping.console import JsonFlag, out, print_json, say
from mapping.targets.load import load_target
from mapping.units import unit_of, with_prefix
from simulators.energy.calibrate import Calibration, calibrate
from simulators.energy.measurements import load_measurements


def calibrate_command(
    target: Annotated[str, typer.Argument(help="Target to start from, a name or .toml.")],
    measurements: Annotated[
        Path, typer.Argument(help="CSV: energy_j, and program and trace or counts per action.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Target .toml to write.")],
    as_json: JsonFlag = False,
) -> None:
    """Fit a target's energies to measurements, and write a target that has them."""
    chip = load_target(target)
    found = calibrate(chip, load_measurements(measurements, chip))
    found.save(output, target)
    if as_json:
        print_json(found.as_dict())
        return
    out.print(calibration_table(found))
    before, after = (abs(errors).mean() for errors in (found.base_errors, found.left_out_errors))
    say(
        f"Mean error of {chip.name}: {before:.1%}; of a fit without the measurement: {after:.1%}, "
        f"at most {abs(found.left_out_errors).max():.1%}"
    )
    say(f"Written to {output}")


def calibration_table(found: Calibration) -> Table:
    """One row per constant."""
    table = Table(
        "constant",
        "base",
        "new",
        "within",
        "why",
        title=f"{found.measurements.rows} measurements on {found.target}",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for constant in found.constants:
        unit = unit_of(constant.name)
        fitted = constant.why == "fitted"
        table.add_row(
            constant.name,
            with_prefix(constant.base, unit),
            with_prefix(constant.value, unit) if fitted else "–",
            f"×/÷ {constant.factor:g}" if fitted else "–",
            constant.why,
        )
    return table
