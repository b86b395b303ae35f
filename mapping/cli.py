"""The command line ``adlrns-map``: compiler commands here, the others by entry points."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.main import get_command

from mapping.artifact.archive import read_spikes
from mapping.artifact.read import load_artifact, load_report
from mapping.artifact.write import write_artifact
from mapping.console import (
    ArtifactPath,
    JsonFlag,
    complain,
    exit_code_of,
    out,
    print_json,
    progress,
    say,
)
from mapping.errors import EXIT_DOES_NOT_FIT, ConfigError
from mapping.explain import catalogue, explain
from mapping.fit import judge
from mapping.ir.checkpoint import load_network
from mapping.ir.network import Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import Calibration, check_labels, check_payloads
from mapping.model import load_model
from mapping.nir import write_nir
from mapping.pipeline import CompileOptions, compile_network, cut_network
from mapping.processors.cli import processors_app
from mapping.rules import check_rules
from mapping.summary import (
    print_cores,
    print_explanation,
    print_summary,
    print_verdicts,
)
from mapping.support import support_command
from mapping.targets.cli import targets_app
from mapping.targets.load import load_target, target_names
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
app.add_typer(targets_app, name="targets")
app.add_typer(processors_app, name="processors")
app.command("support")(support_command)


ModelPath = Annotated[
    Path, typer.Argument(help="ADLRNS checkpoint folder, NIR file or lava-dl .net file.")
]
Step = Annotated[
    float | None,
    typer.Option(help="NIR: step [s]; else as our exporter recorded it, else 1e-4."),
]
Reset = Annotated[
    str | None, typer.Option(help="NIR: zero (default) or subtract, which no chip has.")
]
Integration = Annotated[str | None, typer.Option(help="NIR: euler (default) or exp.")]
CubaOrder = Annotated[
    str | None,
    typer.Option(help="NIR: a CubaLIF voltage sees the new (default) or previous current."),
]
RankText = Annotated[
    str | None,
    typer.Option(
        help="Rank (integer) or fraction of min(in, out), e.g. 8 or 0.25; auto finds the "
        "cheapest on labelled calibration data."
    ),
]
AccuracyDrop = Annotated[
    float | None,
    typer.Option(help="Points of accuracy that --rank auto may lose; 1.0 by default."),
]
WeightBits = Annotated[
    str | None,
    typer.Option(help="Bits per weight, of all or by layer, e.g. 6 or 6,fc1=4,conv*=8."),
]
NeuronsPerCore = Annotated[int | None, typer.Option(help="Cap on neurons per core.")]
PartitionerName = Annotated[
    str, typer.Option(help="How to cut into cores; best tries all that are registered.")
]


@app.command("compile")
def compile_command(
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    target: Annotated[str, typer.Option(help="Target name or TOML file.")] = "loihi2",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Input .npz from which spike rates are measured; else 10 % is assumed."),
    ] = None,
    dt: Step = None,
    reset: Reset = None,
    integration: Integration = None,
    cuba_order: CubaOrder = None,
    rank: RankText = None,
    max_accuracy_drop: AccuracyDrop = None,
    weight_bits: WeightBits = None,
    neurons_per_core: NeuronsPerCore = None,
    partitioner: PartitionerName = "best",
    optimise: Annotated[
        str, typer.Option(help="What best asks for: energy, latency or cores.")
    ] = "energy",
    placer: Annotated[str, typer.Option(help="How to place cores.")] = "anneal",
    time_limit: Annotated[
        float | None,
        typer.Option(help="Stop placing after so many seconds; the result then varies."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for placers that search.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Compile MODEL for a chip and write the program with its report."""
    source = load_model(model, dt_s=dt, reset=reset, integration=integration, cuba_order=cuba_order)
    chip = load_target(target)
    common_bits, layer_bits = _parse_weight_bits(weight_bits)
    options = CompileOptions(
        rank=_parse_rank(rank),
        max_accuracy_drop=max_accuracy_drop,
        weight_bits=common_bits,
        layer_weight_bits=layer_bits,
        neurons_per_core=neurons_per_core,
        partitioner=partitioner,
        optimise=optimise,
        placer=placer,
        time_limit_s=time_limit,
        seed=seed,
    )
    data = None if calibration is None else _load_calibration(calibration, source.network)
    with progress(hidden=as_json) as shown:
        task = shown.add_task("compile", total=None)
        result = compile_network(
            source.network,
            chip,
            options,
            calibration=data,
            conventions=source.conventions,
            observer=lambda name, _: shown.update(task, description=f"done: {name}"),
        )
    write_artifact(result.artifact, result.report, output)
    if as_json:
        print_json(result.report)
    else:
        print_summary(result.report)
        say(f"Written to {output}")


@app.command("fit")
def fit_command(
    model: ModelPath,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Target name or TOML file; may be repeated. Default: all built-in ones."),
    ] = None,
    dt: Step = None,
    reset: Reset = None,
    integration: Integration = None,
    cuba_order: CubaOrder = None,
    rank: RankText = None,
    weight_bits: WeightBits = None,
    neurons_per_core: NeuronsPerCore = None,
    partitioner: PartitionerName = "best",
    as_json: JsonFlag = False,
) -> None:
    """Say how full MODEL makes each chip, whether it fits, and what would make it fit."""
    source = load_model(model, dt_s=dt, reset=reset, integration=integration, cuba_order=cuba_order)
    if rank == "auto":
        raise ConfigError(
            "fit measures no accuracy, by which auto would choose the ranks",
            where="--rank",
            remedy="give a rank here, or compile with --rank auto",
            code="ADL-CFG-09",
        )
    common_bits, layer_bits = _parse_weight_bits(weight_bits)
    options = CompileOptions(
        rank=_parse_rank(rank),
        weight_bits=common_bits,
        layer_weight_bits=layer_bits,
        neurons_per_core=neurons_per_core,
        partitioner=partitioner,
    )
    chips = [load_target(name) for name in target or target_names()]
    with progress(hidden=as_json) as shown:
        shown.add_task("fit", total=None)
        verdicts = [judge(source.network, chip, options, cut_network) for chip in chips]
    if as_json:
        print_json({"model": source.network.name, "targets": [v.as_dict() for v in verdicts]})
    else:
        print_verdicts(source.network.name, verdicts, ranked=rank is not None)
    errors = [verdict.error for verdict in verdicts if verdict.error]
    if len(errors) == len(verdicts):
        raise typer.Exit(max(error.exit_code for error in errors))


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


@app.command("explain")
def explain_command(
    code: Annotated[
        str | None, typer.Argument(help="Code of an error or design rule; all if left out.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what an error code means, why the limit exists and how to fix it."""
    if code is None:
        texts = catalogue()
    else:
        texts = {code.upper(): explain(code)}
    if as_json:
        print_json([{"code": name} | asdict(text) for name, text in texts.items()])
    elif code is None:
        for name, text in texts.items():
            say(f"{name}  {text.title}")
    else:
        print_explanation(*texts.popitem())


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


def _parse_rank(text: str | None) -> int | float | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    try:
        value = float(text) if "." in text else int(text)
    except ValueError:
        value = -1
    if value <= 0 or (isinstance(value, float) and value > 1):
        raise ConfigError(
            f"{text!r} is neither a positive integer nor a fraction up to 1.0 nor auto",
            where="--rank",
            remedy="write e.g. --rank 8, --rank 0.25 or --rank auto",
            code="ADL-CFG-02",
        )
    return value


def _parse_weight_bits(text: str | None) -> tuple[int | None, tuple[tuple[str, int], ...]]:
    """The bits of all layers, if given, and those of some by their names."""
    common: int | None = None
    by_layer: list[tuple[str, int]] = []
    for entry in [] if text is None else text.split(","):
        name, _, bits = entry.rpartition("=")
        if not bits.strip().isdecimal() or (name == "" and (common is not None or "=" in entry)):
            raise ConfigError(
                f"{entry!r} is neither a number of bits nor a layer with its bits",
                where="--weight-bits",
                remedy="write e.g. --weight-bits 6 or --weight-bits 6,fc1=4,fc2=8",
                code="ADL-CFG-04",
            )
        if name:
            by_layer.append((name.strip(), int(bits)))
        else:
            common = int(bits)
    return common, tuple(by_layer)


def _load_calibration(path: Path, network: Network | QuantizedNetwork) -> Calibration:
    spikes, labels = read_spikes(path)
    payloads = check_payloads(spikes, network.input, where=str(path))
    if labels is not None:
        classes = network.population(network.output).size
        labels = check_labels(labels, len(payloads), classes, where=str(path))
    return Calibration(payloads=payloads, labels=labels)


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
    wanted = arguments[0] if arguments and not arguments[0].startswith("-") else None
    return exit_code_of(lambda given: get_command(build_app(wanted))(given), arguments)
