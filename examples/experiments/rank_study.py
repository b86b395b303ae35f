"""One network for every budget beside networks of one rank each (adlrns_neuro.experiments.study).

cd examples/experiments
python rank_study.py --config fashion_mnist_study.yaml --seed 0 --seed 1 --seed 2
python rank_study.py --config fashion_mnist_exit.yaml --rival 8 --rival 16 --rival 32 --rival 64
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adlrns_neuro.config import load_config, with_settings
from mapping.artifact.atomic import atomic_file
from mapping.console import run_program, say

BUDGETS_MACS = (30_000, 40_000, 60_000, 80_000, 120_000, 150_000)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="YAML file.")],
    rival: Annotated[
        list[int] | None,
        typer.Option(help="Rank of a rival; of each level if none. Repeatable."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    save_dir: Annotated[Path, typer.Option(help="For weights.")] = Path("out/rank_study"),
    results: Annotated[Path, typer.Option(help="Folder for figures.")] = Path("results"),
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run was cut off.")
    ] = False,
) -> None:
    """Train, measure, and write one JSON per seed."""
    from adlrns_neuro.experiments.study import SCORER, rank_study

    base = load_config(config)
    if data_dir is not None:
        base = with_settings(base, {"data.dir": str(data_dir)})
    others = "".join(f" --rival {rank}" for rank in rival or ())
    for one in seed or [base.seed]:
        experiment = with_settings(base, {"seed": one})
        found = {
            "name": base.name,
            "seed": one,
            "command": f"python rank_study.py --config {config}{others} --seed {one}",
            "config": experiment.as_dict(),
            **rank_study(
                experiment,
                save_dir / base.name / f"seed{one}",
                BUDGETS_MACS,
                rivals=rival or (),
                resume=resume,
            ),
        }
        with atomic_file(results / base.name / f"seed{one}.json") as work:
            work.write_text(json.dumps(found, indent=1) + "\n")
        for point in found["budgets"][SCORER]:
            say(
                f"seed {one}, {point['macs']:9,.0f} multiply-accumulates: "
                f"{point['accuracy']:.2%}, one rank each {point['rivals_accuracy']:.2%}"
            )


if __name__ == "__main__":
    run_program(app)
