"""What each part of the recipe brings (adlrns_neuro.experiments.ablation).

cd examples/experiments
python ablation.py --config fashion_mnist_ablation.yaml --seed 0
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
    config: Annotated[Path, typer.Option(help="YAML file of a perceptron.")],
    save_dir: Annotated[Path, typer.Option(help="For weights.")] = Path("out/ablation"),
    results: Annotated[Path, typer.Option(help="Folder for figures.")] = Path("results"),
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
) -> None:
    """Train at every setting, and write one JSON per seed."""
    from adlrns_neuro.experiments.ablation import ablation

    base = load_config(config)
    for one in seed or [base.seed]:
        experiment = with_settings(base, {"seed": one})
        found = {
            "name": base.name,
            "seed": one,
            "command": f"python ablation.py --config {config} --seed {one}",
            "config": experiment.as_dict(),
            **ablation(experiment, save_dir / base.name / f"seed{one}", BUDGETS_MACS),
        }
        with atomic_file(results / base.name / f"seed{one}.json") as work:
            work.write_text(json.dumps(found, indent=1) + "\n")
        for name, figures in found["settings"].items():
            shares = ", ".join(f"{scorer} {s:.2%}" for scorer, s in figures["budgets"].items())
            say(f"{name}: {shares}")


if __name__ == "__main__":
    run_program(app)
