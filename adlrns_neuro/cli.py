"""The command that this package adds to ``adlrns-map``; torch loads only when it runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mapping.cli import JsonFlag, out, print_json, say
from mapping.units import with_prefix


def demo_command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")
    ] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="Seed of data split and training.")] = 0,
    lava_samples: Annotated[
        int, typer.Option(min=1, help="Test samples to run in Lava for its accuracy.")
    ] = 120,
    as_json: JsonFlag = False,
) -> None:
    """Train on digits, compile three ranks, run them in three backends, estimate their energy."""
    from adlrns_neuro.demo import EXACT_SAMPLES, results_table, run_demo
    from adlrns_neuro.trainer import TrainingConfig

    start = time.perf_counter()
    training = TrainingConfig(seed=seed)
    results = run_demo(output, training, lava_samples=lava_samples, progress=not as_json)
    if as_json:
        print_json([asdict(result) for result in results])
        return
    out.print(results_table(results))
    if results[0].lava_accuracy is None:
        say("Lava is not installed, so its column is empty; `make setup` installs it.")
    else:
        say(
            f"Lava ran the first {results[0].lava_samples} test digits: every payload and spike "
            "equals the chip simulator's,\n"
            f"and every u and v, too, on the first {EXACT_SAMPLES} in all three backends."
        )
    whole = ", ".join(with_prefix(result.static_chip_j, "J") for result in results)
    say(f"The chip's unused cores left on would bring its static energy to {whole}.")
    say(f"Artifacts: {', '.join(result.artifact for result in results)}")
    say(f"Pictures: {', '.join(f'{result.artifact}.png' for result in results)}")
    say(f"Network, input and traces: {output}")
    say(f"Whole demo: {time.perf_counter() - start:.0f} s")
