"""The commands that this package adds to ``adlrns-map``, but for those about energy."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mapping.artifact.read import load_artifact, load_report
from mapping.budget import price_for
from mapping.console import ArtifactPath, JsonFlag, complain, out, print_json, progress_bar, say
from mapping.errors import EXIT_INTERNAL, ConfigError
from mapping.ir.network import Network
from mapping.model import load_compiled_model
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.chip.noc import noc_timing
from simulators.chip.noc_lines import noc_lines
from simulators.compare import require_equal
from simulators.curve import load_curve
from simulators.energy.estimate import estimate_energy
from simulators.energy.side_by_side import SideBySide
from simulators.energy.sweep import curve_table, measure_curve
from simulators.neurobench import mapped_metrics, metrics_table, original_metrics
from simulators.ranks import rank_usage
from simulators.trace import Interrupted, load_stimulus, load_trace
from simulators.verify import check_origin, verification_table, verify

FuseFlag = Annotated[
    bool,
    typer.Option(
        "--fuse", help="Let Lava run all cores in one process, so that large programs start."
    ),
]


def simulate_command(
    artifact: ArtifactPath,
    stimulus: Annotated[
        Path,
        typer.Option("--input", help="Input .npz: spikes (samples, steps, *shape), labels."),
    ],
    backend: Annotated[str, typer.Option(help="chip, lava or oracle.")] = "chip",
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Dynamic energy per sample, in mJ, that gated layers keep to on average; without "
            "it, every gate whose level gains anything is on.",
        ),
    ] = None,
    probe: Annotated[str, typer.Option(help="States to record, e.g. u,v.")] = "",
    steps: Annotated[int | None, typer.Option(help="Present only the first T steps.")] = None,
    deadline: Annotated[
        float, typer.Option(min=1.0, help="Seconds after which a Lava run is stopped.")
    ] = 600.0,
    noc: Annotated[
        bool,
        typer.Option(
            "--noc",
            help="Also time every step with packets in transit that queue at links and cores "
            "(chip backend).",
        ),
    ] = False,
    carry_state: Annotated[
        bool,
        typer.Option(
            "--carry-state",
            help="Begin every sample where the one before ended: the input is one stream.",
        ),
    ] = False,
    fuse: FuseFlag = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Trace .npz.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a compiled program on input spikes.

    Ctrl-C ends the chip simulator after the samples it is at; what is complete is still written.
    """
    if noc and carry_state:
        raise ConfigError(
            "packets in transit are timed for samples that begin at rest",
            where="--noc",
            remedy="drop --noc or --carry-state",
            code="ADL-NOC-02",
        )
    program = load_artifact(artifact)
    spikes = load_stimulus(stimulus).checked(program.partitioned, where=str(stimulus))
    interrupted = False
    with progress_bar("simulate", total=spikes.samples, hidden=as_json) as advance:
        try:
            trace = simulate(
                program,
                spikes,
                backend,
                probe=[p for p in probe.split(",") if p],
                steps=steps,
                price=0.0 if budget is None else price_for(program, budget * 1e-3),
                deadline_s=deadline,
                carry_state=carry_state,
                fuse=fuse,
                progress=advance,
            )
        except Interrupted as stop:
            if not stop.trace.samples:
                raise
            trace, interrupted = stop.trace, True
    if interrupted:
        spikes = spikes.first(trace.samples)
        complain(f"Interrupted: the first {trace.samples} samples are complete.")
    if output is not None:
        trace.save(output)
    usage = rank_usage(program, trace)
    summary = trace.summary()
    if usage:
        summary["price"] = trace.price
        summary["mean_rank"] = {layer: used.mean for layer, used in usage.items()}
    timing = noc_timing(program, trace, spikes) if noc else None
    if timing is not None:
        summary["noc"] = timing.as_dict()
    if as_json:
        print_json(summary)
        raise typer.Exit(EXIT_INTERNAL if interrupted else 0)
    accuracy = trace.accuracy()
    say(
        f"{trace.samples} samples × {trace.steps} steps on {backend}: "
        f"{summary['spikes_total']} spikes, {trace.seconds:.3g} s"
        + (f", accuracy {accuracy:.2%}" if accuracy is not None else "")
    )
    if trace.is_silent():
        complain(
            f"No compartment of the output {trace.output} ever spiked, so every answer is class 0"
        )
    for layer, used in usage.items():
        shares = ", ".join(f"{rank}: {share:.1%}" for rank, share in used.shares.items())
        say(f"Rank of {layer}: {used.mean:.2f} on average ({shares} of all steps)")
    if budget is not None and trace.counts is not None:
        spent = estimate_energy(program, trace).dynamic_j
        most = max(entry.energy_j for entry in program.budgets)
        say(
            f"Dynamic energy per sample: {with_prefix(spent, 'J')} of a budget of "
            f"{with_prefix(budget * 1e-3, 'J')}"
            + (
                f", which is more than every rank takes, {with_prefix(most, 'J')}"
                if budget * 1e-3 > most
                else ""
            )
        )
    for line in noc_lines(program, timing) if timing is not None else ():
        say(line)
    if output is not None:
        say(f"Written to {output}")
    raise typer.Exit(EXIT_INTERNAL if interrupted else 0)


def curve_command(
    artifact: ArtifactPath,
    stimulus: Annotated[Path, typer.Option("--input", help="Input .npz, best with labels.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="curve.json to write.")],
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a program without gates to compare with; may be repeated."),
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="Number of budgets.")] = 7,
    as_json: JsonFlag = False,
) -> None:
    """Measure accuracy and energy of a gated program over budgets, beside its baselines."""
    program = load_artifact(artifact)
    spikes = load_stimulus(stimulus).checked(program.partitioned, where=str(stimulus))
    others = {path.name: load_artifact(path) for path in baseline or []}
    curve = measure_curve(program, spikes, baselines=others, points=points, split=stimulus.name)
    curve.save(output)
    if as_json:
        print_json(curve.model_dump(by_alias=True))
        return
    out.print(curve_table(curve))
    say(f"Written to {output}")


def verify_command(
    artifact: ArtifactPath,
    stimulus: Annotated[Path, typer.Option("--input", help="Input .npz, best with labels.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder, .nir or .net that was compiled, to run it, too."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Take the first N samples.")] = 20,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="As of `simulate`, in mJ per sample.")
    ] = None,
    fuse: FuseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Run model, oracle, chip simulator and Lava side by side; all but a float model must agree."""
    program = load_artifact(artifact)
    spikes = load_stimulus(stimulus).checked(program.partitioned, where=str(stimulus))
    lava = find_spec("lava") is not None
    found = verify(
        program,
        spikes.first(samples),
        ("chip", "lava") if lava else ("chip",),
        model=None if model is None else load_compiled_model(model, program.origin.options),
        price=0.0 if budget is None else price_for(program, budget * 1e-3),
        fuse=fuse,
    )
    if as_json:
        print_json(found.as_dict())
    else:
        out.print(verification_table(found))
        if model is None:
            say("The model was left out; --model adds it")
        if found.traces[0].is_silent():
            complain("The output never spiked: that the stages agree says nothing about it")
        if not lava:
            say("Lava is not installed and took no part")
    require_equal(*found.traces, where=str(artifact))


def metrics_command(
    artifact: ArtifactPath,
    stimulus: Annotated[Path, typer.Option("--input", help="Input .npz, best with labels.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder or .nir that was compiled, for its own metrics."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Take the first N samples.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="As of `simulate`, in mJ per sample.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print NeuroBench's metrics of a compiled program and of its model."""
    program = load_artifact(artifact)
    spikes = load_stimulus(stimulus).checked(program.partitioned, where=str(stimulus))
    spikes = spikes if samples is None else spikes.first(samples)
    price = 0.0 if budget is None else price_for(program, budget * 1e-3)
    found = {}
    if model is not None:
        original = load_compiled_model(model, program.origin.options)
        if not isinstance(original, Network):
            raise ConfigError(
                "it holds integers, whose metrics are those of the mapped network",
                where=str(model),
                remedy="leave --model out",
                code="ADL-NBM-01",
            )
        check_origin(program, original)
        found["original"] = original_metrics(original, spikes, price=price)
    found["mapped"] = mapped_metrics(program, spikes, price=price)
    if as_json:
        print_json(found)
        return
    out.print(metrics_table(found))


def report_command(
    artifact: ArtifactPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    trace: Annotated[Path | None, typer.Option(help="Trace .npz that `simulate -o` wrote.")] = None,
    curve: Annotated[
        Path | None, typer.Option(help="Accuracy and energy at each budget, curve.json.")
    ] = None,
    hardware: Annotated[
        Path | None, typer.Option(help="Cost on processors, hardware.json of `compare -o`.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one HTML page of a compiled program, its run and its accuracy-energy curve."""
    from simulators.report.page import write_page

    left_out = write_page(
        output,
        load_artifact(artifact),
        load_report(artifact),
        trace=None if trace is None else load_trace(trace),
        curve=None if curve is None else load_curve(curve),
        hardware=None if hardware is None else SideBySide.load(hardware),
    )
    if as_json:
        print_json({"page": str(output), "left_out": [asdict(hint) for hint in left_out]})
        return
    for hint in left_out:
        say(f"Left out: {hint.missing}; add {hint.option}")
    say(f"Written to {output}")
