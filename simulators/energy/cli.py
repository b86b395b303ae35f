"""The commands about energy that this package adds to ``adlrns-map``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.read import load_artifact
from mapping.console import ArtifactPath, JsonFlag, out, print_json, say
from mapping.latency import DEFAULT_LATENCY_MODEL
from mapping.processors.load import load_processor, processor_names
from mapping.processors.spec import NumberFormat
from mapping.targets.load import load_target
from mapping.units import unit_of, with_prefix
from simulators.backend import simulate
from simulators.energy.calibrate import Calibration, calibrate
from simulators.energy.estimate import estimate_energy
from simulators.energy.measurements import load_measurements
from simulators.energy.meter import Metered, measure
from simulators.energy.side_by_side import BATCHES, budgets_of, device_table, side_by_side
from simulators.energy.table import component_table, core_table, energy_lines
from simulators.trace import load_stimulus, load_trace


def energy_command(
    artifact: ArtifactPath,
    trace: Annotated[Path, typer.Option(help="Trace .npz that `simulate -o` wrote.")],
    target: Annotated[
        str | None,
        typer.Option(help="Take the constants of this target, a name or .toml, of the same chip."),
    ] = None,
    latency_model: Annotated[
        str, typer.Option(help="What a step waits for: max-core or max-affine.")
    ] = DEFAULT_LATENCY_MODEL,
    voltage: Annotated[
        float, typer.Option(help="Supply voltage, relative to the one that the constants hold for.")
    ] = 1.0,
    frequency: Annotated[
        float, typer.Option(help="Clock, relative to the one that the constants hold for.")
    ] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw this PNG.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Estimate energy and latency of a trace, per core and component."""
    program = load_artifact(artifact)
    recorded = load_trace(trace)
    chip = program.chip if target is None else load_target(target)
    energy = estimate_energy(
        program,
        recorded,
        latency_model=latency_model,
        chip=chip.at_operating_point(voltage, frequency),
    )
    if plot is not None:
        from simulators.plots.overview import draw_overview

        draw_overview(program, recorded, energy, plot)
    if as_json:
        ratios = {"voltage": voltage, "frequency": frequency}
        print_json({**energy.as_dict(), "operating_point": ratios})
        return
    out.print(core_table(program, energy))
    out.print(component_table(energy))
    if (voltage, frequency) != (1.0, 1.0):
        say(f"At {voltage:g} times the voltage and {frequency:g} times the clock of the constants")
    for line in energy_lines(energy):
        say(line)


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


def compare_command(
    artifact: ArtifactPath,
    stimulus: Annotated[Path, typer.Option("--input", help="Input .npz, best with labels.")],
    processors: Annotated[
        str,
        typer.Option(help=f"Names or .toml files, by commas: {', '.join(processor_names())}."),
    ] = ",".join(processor_names()),
    batch: Annotated[
        list[int] | None,
        typer.Option(
            help="Samples that a processor computes together; may be repeated. [default: 1, 256]"
        ),
    ] = None,
    number_format: Annotated[
        NumberFormat, typer.Option(help="In which the processors compute.")
    ] = "fp32",
    points: Annotated[
        int, typer.Option(min=2, help="Budgets of a gated program, from its most to its least.")
    ] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write hardware.json, for `report`.")
    ] = None,
    measured: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also measure the network's dense execution on this machine, if it has a meter.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put the chip beside conventional processors: the same network on the same input."""
    program = load_artifact(artifact)
    spikes = load_stimulus(stimulus).checked(program.partitioned, where=str(stimulus))
    found = side_by_side(
        program,
        spikes,
        budgets=budgets_of(program, points),
        processors=[load_processor(name.strip()) for name in processors.split(",")],
        batches=batch or BATCHES,
        number_format=number_format,
    )
    if output is not None:
        found.save(output)
    meter = measure(lambda: simulate(program, spikes, backend="oracle")) if measured else None
    if as_json:
        shown = None if meter is None else {"kind": type(meter).__name__, **asdict(meter)}
        print_json({**found.model_dump(by_alias=True), "measured": shown})
        return
    out.print(device_table(found))
    say("Everything above is modelled; see docs/processors.md for what is left out")
    if isinstance(meter, Metered):
        each_j = meter.energy_j / spikes.samples
        say(
            f"Measured: every step computed densely in NumPy, {spikes.samples} samples at once at "
            f"full rank, takes {with_prefix(each_j, 'J')} per inference on "
            f"{', '.join(meter.meters)} of this machine, rest included; "
            f"{meter.runs} runs of {meter.seconds:.3g} s"
        )
    elif meter is not None:
        say(f"Not measured: {meter.reason}")
    if output is not None:
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
    table.columns[0].min_width = max(len(constant.name) for constant in found.constants)
    for constant in found.constants:
        unit = unit_of(constant.name)
        fitted = constant.why == "fitted"
        table.add_row(
            constant.name,
            with_prefix(constant.base, unit),
            with_prefix(constant.value, unit) if fitted else "–",
            f"×/÷ {constant.factor:g}" if fitted and constant.value else "–",
            constant.why,
        )
    return table
