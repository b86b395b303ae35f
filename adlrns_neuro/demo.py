"""The whole way in one run: train on digits, compile every level, run it, count its energy.

This is the composition root: the only module that sees training, compiler and simulators.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE
from rich.progress import track
from rich.table import Table

from adlrns_neuro.data.coding import code
from adlrns_neuro.data.digits import LabelledImages, load_digits_splits
from adlrns_neuro.export import export_network
from adlrns_neuro.models.snn import LowRankSNN, SnnConfig
from adlrns_neuro.trainer import TrainingConfig, train_digits_snn
from mapping.artifact.write import write_artifact
from mapping.cli import err
from mapping.ir.checkpoint import load_network, save_network
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.compare import require_equal
from simulators.energy.estimate import estimate_energy
from simulators.plots.overview import draw_overview
from simulators.trace import Stimulus

TARGET = "loihi2"
NEURONS_PER_CORE = 16
EXACT_SAMPLES = 20
"""Test samples whose every u and v is compared between Lava, oracle and chip simulator."""
LAVA_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """What the demo found for one rank level; accuracies are shares of the test split.

    Attributes:
        rank, cores: size of the factor pair and of the mapping.
        float_accuracy: of the trained torch module.
        integer_accuracy: of the chip simulator on the compiled program.
        lava_accuracy: of Lava on the first ``lava_samples`` samples; None without Lava.
        energy_j, latency_s: means per inference; energy_low_j, energy_high_j: its interval.
        dynamic_j: part of ``energy_j``, the rest is static energy of the used cores;
            static_chip_j: static energy of the whole chip in that time.
        artifact: folder of the compiled program.
    """

    rank: int
    cores: int
    float_accuracy: float
    integer_accuracy: float
    lava_accuracy: float | None
    test_samples: int
    lava_samples: int
    energy_j: float
    dynamic_j: float
    static_chip_j: float
    energy_low_j: float
    energy_high_j: float
    latency_s: float
    status: str
    artifact: str


def run_demo(
    output: Path, training: TrainingConfig, *, lava_samples: int, progress: bool
) -> list[LevelResult]:
    """Do everything and write it to ``output``; one result per rank level.

    Args:
        output: folder for network, input files, artifacts, traces and pictures.
        training: how to train; its seed also splits the data.
        lava_samples: test samples from which Lava's accuracy is taken.
        progress: show progress bars.

    Raises:
        SimulationError: ADL-SIM-10, two backends disagree.
    """
    splits = load_digits_splits(training.seed)
    trained = train_digits_snn(splits, SnnConfig(), training, progress=progress)
    save_network(export_network(trained.model, name="digits", dt_s=1e-3), output / "network")
    config = trained.model.config
    stimulus = as_stimulus(splits.test, config)
    calibration = as_stimulus(splits.calibration, config)
    stimulus.save(output / "test.npz")
    calibration.save(output / "calibration.npz")
    return [
        run_level(trained.model, rank, stimulus, calibration, output, lava_samples)
        for rank in track(config.levels, "compile and run", console=err, disable=not progress)
    ]


def as_stimulus(part: LabelledImages, config: SnnConfig) -> Stimulus:
    """Labelled images in the network's coding."""
    payloads = code(part.images, config.steps, config.coding)
    return Stimulus(payloads=payloads, labels=part.labels)


def run_level(
    model: LowRankSNN,
    rank: int,
    stimulus: Stimulus,
    calibration: Stimulus,
    output: Path,
    lava_samples: int,
) -> LevelResult:
    """Compile one level from the checkpoint in ``output`` and run it everywhere.

    Raises:
        SimulationError: ADL-SIM-10, two backends disagree.
    """
    folder = output / f"rank-{rank}"
    result = compile_network(
        load_network(output / "network"),
        load_target(TARGET),
        CompileOptions(rank=rank, neurons_per_core=NEURONS_PER_CORE),
        calibration=Calibration(payloads=calibration.payloads),
    )
    artifact = result.artifact
    write_artifact(artifact, result.report, folder)
    trace = simulate(artifact, stimulus)
    trace.save(output / f"rank-{rank}-trace.npz")
    energy = estimate_energy(artifact, trace)
    draw_overview(artifact, trace, energy, output / f"rank-{rank}.png")
    low, high = energy.interval_j()
    lava_accuracy = None
    if find_spec("lava"):
        exact, some = stimulus.first(EXACT_SAMPLES), stimulus.first(lava_samples)
        probed = (
            simulate(artifact, exact, name, probe=("u", "v"), deadline_s=LAVA_DEADLINE_S)
            for name in ("chip", "oracle", "lava")
        )
        require_equal(*probed, where=f"rank {rank}")
        lava = simulate(artifact, some, "lava", deadline_s=LAVA_DEADLINE_S)
        require_equal(simulate(artifact, some), lava, where=f"rank {rank}")
        lava_accuracy = lava.accuracy()
    return LevelResult(
        rank=rank,
        cores=energy.cores,
        float_accuracy=_float_accuracy(model, rank, stimulus),
        integer_accuracy=trace.accuracy() or 0.0,
        lava_accuracy=lava_accuracy,
        test_samples=stimulus.samples,
        lava_samples=min(lava_samples, stimulus.samples),
        energy_j=energy.total_j,
        dynamic_j=energy.dynamic_j,
        static_chip_j=energy.static_chip_j,
        energy_low_j=low,
        energy_high_j=high,
        latency_s=energy.latency_s,
        status=energy.status,
        artifact=str(folder),
    )


def results_table(results: list[LevelResult]) -> Table:
    """One row per level."""
    test_samples, lava_samples = results[0].test_samples, results[0].lava_samples
    table = Table(
        "rank",
        "cores",
        f"float\nof {test_samples}",
        f"integer\nof {test_samples}",
        f"Lava\nof {lava_samples}",
        "energy of\nused cores",
        "latency",
        title=f"Digits on {TARGET}: test accuracy, estimates per inference ({results[0].status})",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for row in results:
        low, high = (with_prefix(e, "J", digits=2) for e in (row.energy_low_j, row.energy_high_j))
        table.add_row(
            str(row.rank),
            str(row.cores),
            f"{row.float_accuracy:.2%}",
            f"{row.integer_accuracy:.2%}",
            "–" if row.lava_accuracy is None else f"{row.lava_accuracy:.2%}",
            f"{with_prefix(row.energy_j, 'J')} ({low} … {high})",
            with_prefix(row.latency_s, "s"),
        )
    return table


def _float_accuracy(model: LowRankSNN, rank: int, stimulus: Stimulus) -> float:
    payloads = torch.from_numpy(stimulus.payloads.swapaxes(0, 1).astype(np.float32))
    answers = model.predict(payloads, rank).numpy()
    return float((answers == stimulus.labels).mean())
