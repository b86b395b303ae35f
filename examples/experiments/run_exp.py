"""Run an experiment, or a sweep over seeds and settings: training, then figures as JSON.

cd examples/experiments
python run_exp.py --config digits.yaml --save_dir out/digits
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adlrns_neuro.config import ExperimentConfig, load_config, with_settings
from mapping.console import complain, run_program, say
from mapping.errors import AdlrnsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", help="YAML file of the experiment.")],
    save_dir: Annotated[Path, typer.Option("--save_dir", "--save-dir", help="For weights.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data_dir", "--data-dir", help="Folder of the data set.")
    ] = None,
    gpu: Annotated[int, typer.Option("--gpu", min=-1, help="Number of the GPU; -1: CPU.")] = -1,
    results: Annotated[Path, typer.Option("--results", help="Folder for figures.")] = Path(
        "results"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run was cut off.")
    ] = False,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="In the place of the file's; repeatable.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, as train.lr=1e-3; repeat a key to sweep over it."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Address of a Dask scheduler for sweeps.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes for sweeps on this machine.")
    ] = os.cpu_count() or 1,
) -> None:
    """Train a dense network and one for all ranks, and measure both on the test split."""
    from adlrns_neuro.experiments.sweep import combinations, parse_settings

    experiment = load_config(config)
    if data_dir is not None:
        experiment = with_settings(experiment, {"data.dir": str(data_dir)})
    experiments = combinations(experiment, seed or [], parse_settings(setting or []))
    device = "cpu" if gpu < 0 else f"cuda:{gpu}"
    if len(experiments) == 1 and cluster is None:
        from accelerate import PartialState

        from adlrns_neuro.experiments.run import run_experiment

        result = run_experiment(
            experiments[0],
            save_dir,
            results,
            device=device,
            command=shlex.join(sys.argv),
            resume=resume,
        )
        if PartialState().is_main_process:
            _tell(experiments[0], result, results)
        return
    _sweep(experiments, save_dir, results, device, resume, cluster, workers)


def _sweep(
    experiments: tuple[ExperimentConfig, ...],
    save_dir: Path,
    results: Path,
    device: str,
    resume: bool,
    cluster: str | None,
    workers: int,
) -> None:
    from adlrns_neuro.experiments.run import result_path
    from adlrns_neuro.experiments.sweep import Run, sweep

    runs = [
        Run(
            config=one,
            save_dir=save_dir.resolve() / result_path(one, Path()).stem,
            results_dir=results.resolve(),
            device=device,
            command=shlex.join(sys.argv),
            resume=resume,
        )
        for one in experiments
    ]
    refused = 0
    for outcome in sweep(runs, cluster=cluster, workers=min(workers, len(runs))):
        if outcome.result is None:
            refused += 1
            complain(f"{outcome.run.save_dir.name}: {outcome.error}")
        else:
            _tell(outcome.run.config, outcome.result, results)
    if refused:
        complain(f"{refused} of {len(runs)} runs were refused.")
        raise typer.Exit(AdlrnsError.exit_code)


def _tell(config: ExperimentConfig, result: Any, results: Path) -> None:
    """A line for each way to run the network, and where the figures are."""
    from adlrns_neuro.experiments.run import result_path

    dense = result["dense"]
    spikes = dense["synaptic_ops"] is not None
    key, unit = (
        ("synaptic_ops", "synaptic operations") if spikes else ("macs", "multiply-accumulates")
    )
    say(f"{config.name}, seed {config.seed}: test accuracy, {unit}")
    say(f"  dense     {dense['accuracy']:7.2%} {dense[key]:12,.0f}")
    for level in result["levels"]:
        say(f"  rank {level['rank']:4} {level['accuracy']:7.2%} {level[key]:12,.0f}")
    for gated in result["gated"]:
        say(f"  λ {gated['price']:7.3g} {gated['accuracy']:7.2%} {gated[key]:12,.0f}")
    say(f"  {result_path(config, results)}")


if __name__ == "__main__":
    run_program(app)
