"""The command that this package adds to ``adlrns-map``; torch loads only when it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mapping.console import JsonFlag, out, print_json, say


def demo_command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")
    ] = Path("out/demo"),
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of data split and training.")
    ] = 0,
    samples: Annotated[
        int, typer.Option(min=1, help="Test digits to run in all backends, at three budgets.")
    ] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Train on digits, compile one program for every energy budget, compare it, show it."""
    from adlrns_neuro.demo import demo_lines, run_demo
    from adlrns_neuro.recipe import digits_recipe
    from simulators.energy.side_by_side import device_table
    from simulators.energy.sweep import curve_table

    start = time.perf_counter()
    recipe = digits_recipe(seed=seed)
    result = run_demo(output, recipe, compared_samples=samples, progress=not as_json)
    if as_json:
        print_json(result.as_dict())
        return
    out.print(curve_table(result.curve))
    out.print(device_table(result.hardware))
    for line in demo_lines(result):
        say(line)
    say(f"Report to open in a browser: {output / 'report.html'}")
    say(f"Networks, input, programs, curve, trace and picture: {output}")
    say(f"Whole demo: {time.perf_counter() - start:.0f} s")
