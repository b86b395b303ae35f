"""The command line ``adlrns-map``: compiler commands here, the others by entry points."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from mapping.artifact.archive import read_spikes
from mapping.artifact.read import load_artifact, load_report
from mapping.artifact.write import write_artifact
from mapping.errors import (
    EXIT_DOES_NOT_FIT,
    EXIT_INTERNAL,
    AdlrnsError,
    ConfigError,
    DesignRuleError,
)
from mapping.ir.checkpoint import load_network
from mapping.ir.network import Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import Calibration, check_payloads
from mapping.model import load_model
from mapping.nir import write_nir
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import check_rules
from mapping.targets.load import load_target, target_data, target_names
from mapping.targets.spec import MeshSpec
from mapping.units import with_prefix

app = typer.Typer(
    name="adlrns-map",
    help="Map trained low-rank spiking networks onto neuromorphic chips, run them, and know what "
    "an inference costs.\n\nExit codes: 0 ok, 1 internal error, 2 wrong usage or input, 3 does "
    "not fit the chip. Add --debug to any command to see the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
targets_app = typer.Typer(help="List, show and check chip targets.", no_args_is_help=True)
app.add_typer(targets_app, name="targets")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")]
ArtifactPath = Annotated[Path, typer.Argument(help="Folder that `compile -o` wrote.")]


def print_json(content: object) -> None:
    """Write ``content`` to stdout as JSON and nothing else."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def say(text: str) -> None:
    """Print ``text`` as it is; it may hold names and paths that look like markup."""
    out.print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print ``text`` to stderr as one line that can be searched and copied."""
    err.print(text, markup=False, soft_wrap=True)


def _progress(*columns: ProgressColumn, hidden: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *columns,
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=hidden or not err.is_terminal,
    )


@contextmanager
def progress_bar(name: str, *, total: int, hidden: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr while the block runs; yields what to tell of each advance."""
    with _progress(BarColumn(), MofNCompleteColumn(), hidden=hidden) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.advance(task, done)


@app.command("compile")
def compile_command(
    model: Annotated[
        Path, typer.Argument(help="ADLRNS checkpoint folder, NIR file or lava-dl .net file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    target: Annotated[str, typer.Option(help="Target name or TOML file.")] = "loihi2",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Input .npz from which spike rates are measured; else 10 % is assumed."),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(help="NIR: step [s]; else as our exporter recorded it, else 1e-4."),
    ] = None,
    reset: Annotated[
        str | None, typer.Option(help="NIR: zero (default) or subtract, which no chip has.")
    ] = None,
    integration: Annotated[str | None, typer.Option(help="NIR: euler (default) or exp.")] = None,
    cuba_order: Annotated[
        str | None,
        typer.Option(help="NIR: a CubaLIF voltage sees the new (default) or previous current."),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(help="Rank (integer) or fraction of min(in, out), e.g. 8 or 0.25."),
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="Bits per weight, of float models.")
    ] = None,
    neurons_per_core: Annotated[int | None, typer.Option(help="Cap on neurons per core.")] = None,
    partitioner: Annotated[str, typer.Option(help="How to cut into cores.")] = "first-fit",
    placer: Annotated[str, typer.Option(help="How to place cores.")] = "raster",
    seed: Annotated[int, typer.Option(help="Seed for placers that search.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Compile MODEL for a chip and write the program with its report."""
    source = load_model(model, dt_s=dt, reset=reset, integration=integration, cuba_order=cuba_order)
    chip = load_target(target)
    options = CompileOptions(
        rank=_parse_rank(rank),
        weight_bits=weight_bits,
        neurons_per_core=neurons_per_core,
        partitioner=partitioner,
        placer=placer,
        seed=seed,
    )
    data = None if calibration is None else _load_calibration(calibration, source.network)
    with _progress(hidden=as_json) as progress:
        task = progress.add_task("compile", total=None)
        result = compile_network(
            source.network,
            chip,
            options,
            calibration=data,
            conventions=source.conventions,
            observer=lambda name, _: progress.update(task, description=f"done: {name}"),
        )
    write_artifact(result.artifact, result.report, output)
    if as_json:
        print_json(result.report)
    else:
        print_summary(result.report)
        say(f"Written to {output}")


@app.command("export")
def export_command(
    model: Annotated[Path, typer.Argument(help="ADLRNS checkpoint folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="NIR file to write.")],
    as_json: JsonFlag = False,
) -> None:
    """Write the network in a checkpoint as a NIR file, for other tools."""
    network = load_network(model)
    write_nir(network, output)
    if as_json:
        print_json({"network": network.name, "dt": network.dt_s, "file": str(output)})
    else:
        say(f"Written to {output}: steps of {with_prefix(network.dt_s, 's')}, reset to zero")


@app.command("check")
def check_command(artifact: ArtifactPath, as_json: JsonFlag = False) -> None:
    """Check a compiled program against every design rule."""
    diagnostics = check_rules(load_artifact(artifact))
    broken = [d for d in diagnostics if d.severity == "error"]
    if as_json:
        print_json({"diagnostics": [asdict(d) for d in diagnostics]})
    for diagnostic in diagnostics:
        complain(str(diagnostic))
    if broken:
        raise typer.Exit(EXIT_DOES_NOT_FIT)
    if not as_json:
        out.print(f"All design rules hold ({len(diagnostics)} remarks).")


@app.command("inspect")
def inspect_command(artifact: ArtifactPath, as_json: JsonFlag = False) -> None:
    """Show what a compiled program holds."""
    mesh = load_artifact(artifact).chip.mesh
    report = load_report(artifact)
    if as_json:
        print_json(report)
    else:
        print_summary(report)
        print_cores(report, mesh)


@targets_app.command("list")
def targets_list(as_json: JsonFlag = False) -> None:
    """List the built-in targets."""
    chips = [load_target(name) for name in target_names()]
    if as_json:
        print_json([{"name": c.name, "description": c.description} for c in chips])
        return
    for chip in chips:
        say(f"{chip.name}: {chip.description}")


@targets_app.command("show")
def targets_show(
    target: Annotated[str, typer.Argument(help="Target name or TOML file.")],
    as_json: JsonFlag = False,
) -> None:
    """Show every figure of a target with its status and source."""
    chip = load_target(target)
    if as_json:
        print_json(target_data(chip))
        return
    table = Table(title=Text(chip.description), box=SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column("entry", no_wrap=True)
    for heading in ("value", "status", "source"):
        table.add_column(heading, overflow="fold")
    for name, entry in chip.constants().items():
        factor = getattr(entry, "factor", 1.0)
        interval = f" (×/÷ {factor:g})" if factor > 1 else ""
        plain = isinstance(entry.value, int | float) and not isinstance(entry.value, bool)
        value = f"{entry.value:g}" if plain else str(entry.value)
        table.add_row(name, value + interval, entry.status, Text(entry.source))
    out.print(table)


@targets_app.command("validate")
def targets_validate(
    file: Annotated[str, typer.Argument(help="TOML file.")], as_json: JsonFlag = False
) -> None:
    """Check a target file of your own."""
    chip = load_target(file)
    if as_json:
        print_json({"name": chip.name, "valid": True})
    else:
        say(f"{chip.name} is complete: {len(chip.constants())} figures.")


def print_summary(report: dict[str, Any]) -> None:
    """The compiler's report for people."""
    network, cores, noc = report["network"], report["cores"], report["noc"]
    say(
        f"{network['name']} on {report['target']}: {network['neurons']} neurons, "
        f"{network['synapses']} synapses, {cores['used']} of {cores['available']} cores"
        + (f" on {cores['chips']} chips" if cores["chips"] > 1 else "")
    )
    if network.get("conventions"):
        conventions = dict(network["conventions"])
        origin = conventions.pop("format")
        say(f"Read from {origin} with {', '.join(f'{n} {v}' for n, v in conventions.items())}")
    layers = Table(
        "layer",
        "in → out",
        "rank",
        "form",
        "cores",
        "bits",
        "error",
        "clipped",
        "zeroed",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for layer in network["layers"]:
        layers.add_row(
            Text(layer["name"]),
            f"{layer['in']} → {layer['out']}",
            ", ".join(map(str, layer["levels"])),
            layer["realisation"],
            str(layer["cores"]),
            str(layer["weight_bits"]),
            f"{layer['relative_error']:.2%}",
            f"{layer['clipped']:.2%}",
            f"{layer['zeroed']:.2%}",
        )
    out.print(layers)
    busiest = max(cores["per_core"], key=lambda core: core["utilisation"])
    out.print(
        f"Busiest core: {busiest['id']} at {busiest['utilisation']:.1%} of its "
        f"{busiest['bottleneck'].replace('_', ' ')}"
    )
    out.print(
        f"Traffic ({noc['traffic']}): {noc['packets_per_step']:.4g} packets and "
        f"{noc['hops_per_step']:.4g} hops per step ({noc['bound']} bound "
        f"{noc['lower_bound']:.4g}, gap {noc['gap']:.0%}), busiest link "
        f"{noc['max_link_load']:.4g}, longest path {noc['longest_path']}"
    )
    estimate = report["estimate"]
    energy = _with_interval(estimate, "energy", "j", "J")
    latency = _with_interval(estimate, "latency", "s", "s")
    say(
        f"Estimate ({estimate['status']} constants, {estimate['activity']} activity): {energy} "
        f"and {latency} per step,\nof it {with_prefix(estimate['static_j_per_step'], 'J')} static "
        "on the used cores"
    )
    if report["budgets"]:
        energies = [entry["energy_j"] for entry in report["budgets"]]
        say(
            f"Gates: the dial goes from {with_prefix(min(energies), 'J')} to "
            f"{with_prefix(max(energies), 'J')} of dynamic energy per inference on the calibration "
            "data;\nset it with `simulate --budget`"
        )
    for diagnostic in report["diagnostics"]:
        say(_line(diagnostic))


def _with_interval(estimate: dict[str, Any], quantity: str, suffix: str, unit: str) -> str:
    low, high = estimate[f"{quantity}_interval_{suffix}_per_step"]
    ends = " … ".join(with_prefix(end, unit, digits=2) for end in (low, high))
    return f"{with_prefix(estimate[f'{quantity}_{suffix}_per_step'], unit)} ({ends})"


def print_cores(report: dict[str, Any], mesh: MeshSpec) -> None:
    """One row per core: where it is, what it holds and how full it is."""
    table = Table(
        "core",
        "tile",
        "neurons",
        "words",
        "in",
        "out",
        "full",
        "holds",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for core in report["cores"]["per_core"]:
        table.add_row(
            str(core["id"]),
            mesh.tile_name(core["chip"], core["x"], core["y"]),
            str(core["neurons"]),
            str(core["synapse_words"]),
            str(core["in_axons"]),
            str(core["out_axons"]),
            f"{core['utilisation']:.1%}",
            Text(", ".join(core["holds"])),
        )
    out.print(table)


def _parse_rank(text: str | None) -> int | float | None:
    if text is None:
        return None
    try:
        value = float(text) if "." in text else int(text)
    except ValueError:
        value = -1
    if value <= 0 or (isinstance(value, float) and value > 1):
        raise ConfigError(
            f"{text!r} is neither a positive integer nor a fraction up to 1.0",
            where="--rank",
            remedy="write e.g. --rank 8 or --rank 0.25",
            code="ADL-CFG-02",
        )
    return value


def _load_calibration(path: Path, network: Network | QuantizedNetwork) -> Calibration:
    spikes, _ = read_spikes(path)
    return Calibration(payloads=check_payloads(spikes, network.input, where=str(path)))


def build_app(wanted: str | None) -> typer.Typer:
    """The application with the commands of every installed package.

    Args:
        wanted: load this command alone, since others may take seconds to import; None for all.
    """
    own = {command.name for command in app.registered_commands}
    for entry in sorted(entry_points(group="adlrns_map.commands"), key=lambda e: e.name):
        if entry.name in own or (wanted is not None and entry.name != wanted):
            continue
        try:
            app.command(entry.name)(entry.load())
        except Exception as error:  # a plugin of others may fail in any way
            complain(f"The command {entry.name!r} of {entry.value} cannot be loaded: {error}")
    return app


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with its documented code."""
    sys.exit(run(arguments if arguments is not None else sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are printed, never raised."""
    debug = "--debug" in arguments
    as_json = "--json" in arguments
    wanted = arguments[0] if arguments and not arguments[0].startswith("-") else None
    try:
        command = typer.main.get_command(build_app(wanted))
        command([a for a in arguments if a != "--debug"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except AdlrnsError as error:
        return _report_error(error, as_json=as_json, debug=debug)
    except KeyboardInterrupt:
        complain("Interrupted.")
        return EXIT_INTERNAL
    except Exception as error:
        complain(
            f"Internal error: {type(error).__name__}: {error}. Remedy: run again with --debug and "
            "report what it prints."
        )
        if debug:
            traceback.print_exc()
        return EXIT_INTERNAL
    return 0


def _report_error(error: AdlrnsError, *, as_json: bool, debug: bool) -> int:
    found = (
        [asdict(d) for d in error.diagnostics]
        if isinstance(error, DesignRuleError)
        else [error.as_dict()]
    )
    if as_json:
        print_json({"diagnostics": found})
    for diagnostic in found:
        complain(_line(diagnostic))
    if debug:
        traceback.print_exception(error)
    return error.exit_code


def _line(diagnostic: dict[str, str]) -> str:
    return "{code} · {where}: {message}. Remedy: {remedy}.".format(**diagnostic)
