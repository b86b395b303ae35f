"""Accuracy and energy of an adaptive network beside dense and static ones, by cross-validation.

python benchmarks/bench_digits.py [--quick] [--folds N] [--coding CODING] [--jobs N] [--json FILE]

Of five folds of the 1,797 digits one is the test, the next one the calibration set, the others
train; every digit is tested once. All networks are trained for the same number of epochs, coded,
quantised, placed and priced alike, and figures are those of the compiled programs. Low-rank ones
spend two thirds of the epochs on factors that also learn from the dense network of the first third;
dense ones learn from labels alone.

What is chosen, is chosen by accuracy on calibration digits: the adaptive program's budget in each
fold, the best and of equals the least; the size of the hidden population once, the smallest at
which a dense network is within 0.3 points of the best on the mean of the folds, so that all digits
have a say in it. With rate coding the dense networks that are sent changes come along: for still
images that costs least.

Differences are paired by digit. Their first error is over the digits, for the networks that were
trained; the second over the folds, which also differ in training, but overlap in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from results import row, write
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from adlrns_neuro.data.coding import Coding
from adlrns_neuro.data.digits import DigitsSplits, LabelledImages
from adlrns_neuro.demo import POINTS, as_stimulus, compiled
from adlrns_neuro.evaluation import encode
from adlrns_neuro.export import export_network
from adlrns_neuro.gates.spiking import fit_spiking_gate
from adlrns_neuro.recipe import Recipe, digits_recipe
from adlrns_neuro.snn_trainer import train_dense_snn, train_snn
from mapping.artifact.schema import Artifact
from mapping.budget import price_for
from mapping.units import with_prefix
from simulators import Stimulus, estimate_energy, simulate

ERR = Console(stderr=True)
FOLDS = 5
HIDDEN = (32, 64, 128, 256)
MARGIN = 0.003
"""Accuracy that a smaller dense network may give up."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train on which fold: ``kind`` is dense, static or adaptive."""

    kind: str
    fold: int
    hidden: int
    coding: Coding
    rank: int = 0
    quick: bool = False

    @property
    def name(self) -> str:
        """Of the network, whatever the fold."""
        size = f"{self.coding}, {self.hidden} hidden"
        return f"{self.kind} {self.rank}, {size}" if self.rank else f"{self.kind}, {size}"

    def recipe(self) -> Recipe:
        """How to train it."""
        recipe = digits_recipe(self.coding, hidden=self.hidden, seed=self.fold)
        snn, training = recipe.snn, recipe.training
        if self.rank:
            snn, training = replace(snn, levels=(self.rank,)), replace(training, open_at=0)
        if self.quick:
            training = replace(training, teacher_epochs=3, nested_epochs=6)
        return Recipe(snn=snn, training=training)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one program on one fold.

    Attributes:
        job: what it was.
        calibration_accuracy: share of right answers on the calibration digits.
        hits: whether each test digit was classified rightly.
        cores: used cores; dark_cores: those that nothing reached in the whole test.
        dynamic_j, static_j, static_chip_j, latency_s: means per test digit.
    """

    job: Job
    calibration_accuracy: float
    hits: tuple[bool, ...]
    cores: int
    dark_cores: int
    dynamic_j: float
    static_j: float
    static_chip_j: float
    latency_s: float


def split(fold: int) -> DigitsSplits:
    """The digits with ``fold`` as the test set."""
    images, labels = load_digits(return_X_y=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, labels)
    parts = [indices for _, indices in folds]
    rest = [p for n, p in enumerate(parts) if n not in (fold, (fold + 1) % FOLDS)]

    def part(indices: np.ndarray) -> LabelledImages:
        chosen = images[indices].astype(np.int64), labels[indices].astype(np.int64)
        return LabelledImages(images=chosen[0], labels=chosen[1])

    return DigitsSplits(
        train=part(np.concatenate(rest)),
        calibration=part(parts[(fold + 1) % FOLDS]),
        test=part(parts[fold]),
    )


def run(job: Job) -> Figures:
    """Train, compile and measure."""
    recipe, splits = job.recipe(), split(job.fold)
    snn, training = recipe.snn, recipe.training
    train, held_out = (encode(p, snn.steps, snn.coding) for p in (splits.train, splits.calibration))
    if job.kind == "dense":
        model = train_dense_snn(train, held_out, snn, training, progress=False)
        network = export_network(model, name=job.name, dt_s=1e-3)
    else:
        low_rank = train_snn(train, held_out, snn, training, progress=False).model
        if job.kind == "adaptive":
            fit_spiking_gate(low_rank, held_out, training)
        network = export_network(low_rank, name=job.name, dt_s=1e-3, gated=job.kind == "adaptive")
    calibration, test = (as_stimulus(p, snn) for p in (splits.calibration, splits.test))
    program = compiled(network, calibration)
    return measured(job, program, calibration, test, chosen_price(program, calibration))


def chosen_price(program: Artifact, calibration: Stimulus) -> float:
    """Of the best of ``POINTS`` budgets on the calibration digits; of equals, of the least."""
    if not program.budgets:
        return 0.0
    energies = [entry.energy_j for entry in program.budgets]
    prices = [price_for(program, b) for b in np.linspace(min(energies), max(energies), POINTS)]
    return max(prices, key=lambda p: simulate(program, calibration, price=p).accuracy() or 0.0)


def measured(
    job: Job, program: Artifact, calibration: Stimulus, test: Stimulus, price: float
) -> Figures:
    """What ``program`` does at ``price``."""
    trace = simulate(program, test, price=price)
    energy = estimate_energy(program, trace)
    return Figures(
        job=job,
        calibration_accuracy=simulate(program, calibration, price=price).accuracy() or 0.0,
        hits=tuple((trace.predictions() == test.labels).tolist()),
        cores=energy.cores,
        dark_cores=int((energy.core_dark_share == 1.0).sum()),
        dynamic_j=energy.dynamic_j,
        static_j=energy.static_j,
        static_chip_j=energy.static_chip_j,
        latency_s=energy.latency_s,
    )


def run_all(jobs: Iterable[Job], workers: int) -> dict[str, list[Figures]]:
    """By name, one entry per fold."""
    found: dict[str, list[Figures]] = {}
    todo = list(jobs)
    with ProcessPoolExecutor(workers) as pool:
        done = track(pool.map(run, todo), "train and measure", total=len(todo), console=ERR)
        for figures in done:
            found.setdefault(figures.job.name, []).append(figures)
    return found


def accuracy(folds: list[Figures]) -> float:
    """Over all test digits."""
    return float(np.mean(np.concatenate([figures.hits for figures in folds])))


def mean(folds: list[Figures], what: str) -> float:
    """Over the folds, weighted by their test digits."""
    weights = [len(figures.hits) for figures in folds]
    return float(np.average([getattr(figures, what) for figures in folds], weights=weights))


def paired(ours: list[Figures], others: list[Figures]) -> tuple[float, float, float]:
    """Mean difference on the same digits, its standard errors over digits and over folds."""
    parts = [np.subtract(a.hits, b.hits, dtype=float) for a, b in zip(ours, others, strict=True)]
    digits, folds = np.concatenate(parts), np.array([part.mean() for part in parts])
    return float(digits.mean()), standard_error(digits), standard_error(folds)


def standard_error(values: np.ndarray) -> float:
    """Of the mean; NaN for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def table(found: dict[str, list[Figures]], dense: str) -> Table:
    """One row per network, compared with the dense one."""
    columns = ("network", "accuracy", "minus dense\n(points)", "dynamic", "of dense")
    columns += ("static,\nused cores", "static,\nchip", "latency", "cores")
    rows = Table(*columns, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name, folds in found.items():
        difference, digits, between = (100 * share for share in paired(folds, found[dense]))
        rows.add_row(
            name,
            f"{accuracy(folds):.2%}",
            "–" if name == dense else f"{difference:+.2f} ± {digits:.2f} ± {between:.2f}",
            with_prefix(mean(folds, "dynamic_j"), "J"),
            f"{mean(folds, 'dynamic_j') / mean(found[dense], 'dynamic_j'):.0%}",
            with_prefix(mean(folds, "static_j"), "J"),
            with_prefix(mean(folds, "static_chip_j"), "J"),
            with_prefix(mean(folds, "latency_s"), "s"),
            f"{mean(folds, 'cores'):.1f}",
        )
    return rows


def save(
    path: Path, found: dict[str, list[Figures]], dense: str, calibration: dict[str, float]
) -> None:
    """Rows of the adaptive network beside all others, and every figure of every fold."""
    ours = next(folds for name, folds in found.items() if name.startswith("adaptive"))
    peers = {name: folds for name, folds in found.items() if folds is not ours}
    case = f"digits, {len(ours)} folds, {ours[0].job.coding}"
    shares = {name: accuracy(folds) for name, folds in peers.items()}
    rows = [row(case, "accuracy", "share", accuracy(ours), shares)]
    units = {"dynamic_j": "J", "static_j": "J", "static_chip_j": "J", "latency_s": "s"}
    for what, unit in units.items():
        means = {name: mean(folds, what) for name, folds in peers.items()}
        rows.append(row(case, what, unit, mean(ours, what), means))
    difference, over_digits, over_folds = paired(ours, found[dense])
    write(
        path,
        rows,
        ("torch", "snntorch", "numpy", "numba"),
        dense=dense,
        calibration_accuracy=calibration,
        paired_difference=difference,
        standard_error_over_digits=over_digits,
        standard_error_over_folds=over_folds,
        folds=[asdict(figures) for folds in found.values() for figures in folds],
    )


def main() -> None:
    """Print the table, and write the rows if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few epochs, one fold: a smoke test")
    parser.add_argument("--folds", type=int, default=FOLDS, choices=range(1, FOLDS + 1))
    parser.add_argument("--coding", default="rate", choices=("rate", "delta"))
    parser.add_argument("--jobs", type=int, default=2, choices=range(1, 65), metavar="N")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folds = range(1 if options.quick else options.folds)

    def jobs(kind: str, hidden: int, coding: Coding, rank: int = 0) -> Iterator[Job]:
        for fold in folds:
            yield Job(
                kind=kind, fold=fold, hidden=hidden, coding=coding, rank=rank, quick=options.quick
            )

    sizes = HIDDEN[:1] if options.quick else HIDDEN
    found = run_all((j for h in sizes for j in jobs("dense", h, options.coding)), options.jobs)
    calibration = {
        name: float(np.mean([figures.calibration_accuracy for figures in f]))
        for name, f in found.items()
    }
    best = max(calibration.values())
    dense = next(name for name, share in calibration.items() if share >= best - MARGIN)
    hidden = found[dense][0].job.hidden
    others = [*jobs("adaptive", hidden, options.coding)]
    for rank in digits_recipe(options.coding, hidden=hidden).snn.levels:
        others += jobs("static", hidden, options.coding, rank)
    if options.coding != "delta":
        others += (j for size in sizes if size <= hidden for j in jobs("dense", size, "delta"))
    found |= run_all(others, options.jobs)
    console = Console(width=120)
    console.print(table(found, dense))
    console.print(f"dense by the rule: {dense}; calibration accuracies {calibration}")
    if options.json:
        save(options.json, found, dense, calibration)


if __name__ == "__main__":
    main()
