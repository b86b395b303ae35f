"""Accuracy and energy of a gated program at several budgets, beside programs without gates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.budget import price_for
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.curve import AdaptiveCurve, Baseline, BudgetPoint, Curve, Measured
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.ranks import rank_usage
from simulators.trace import ExecutionTrace, Stimulus


def measure_curve(
    artifact: Artifact,
    stimulus: Stimulus,
    *,
    baselines: Mapping[str, Artifact],
    points: int,
    split: str,
) -> Curve:
    """Run ``artifact`` at budgets that are even between its least and its most.

    Args:
        artifact: a gated program that was compiled with calibration data.
        stimulus: what to classify.
        baselines: programs to compare with, by name.
        points: number of budgets, at least 2.
        split: what the curve says the stimulus is.

    Raises:
        ConfigError: ADL-BUD-01, ``artifact`` has no gates or no calibration data; ADL-INP-…, the
            stimulus does not suit a program.
    """
    energies = [entry.energy_j for entry in artifact.budgets]
    budgets = np.linspace(min(energies), max(energies), points) if energies else [0.0]
    return Curve(
        schema="adlrns-curve/1",
        dataset=artifact.partitioned.name,
        split=split,
        samples=stimulus.samples,
        target=artifact.chip.name,
        adaptive=AdaptiveCurve(
            name="adaptive " + ", ".join(_levels(artifact)),
            program=artifact.origin.fingerprint(),
            points=tuple(_at_budget(artifact, stimulus, float(b)) for b in budgets),
        ),
        baselines=tuple(_baseline(name, a, stimulus) for name, a in baselines.items()),
    )


def _levels(artifact: Artifact) -> list[str]:
    return ["-".join(map(str, gated.levels)) for gated in artifact.partitioned.gated_layers()]


def _at_budget(artifact: Artifact, stimulus: Stimulus, budget_j: float) -> BudgetPoint:
    trace = simulate(artifact, stimulus, price=price_for(artifact, budget_j))
    energy = estimate_energy(artifact, trace)
    usage = rank_usage(artifact, trace)
    return BudgetPoint(
        **_measured(trace, energy).model_dump(),
        budget_j=budget_j,
        price=trace.price,
        ranks={n: {str(r): s for r, s in used.shares.items()} for n, used in usage.items()},
        mean_rank={name: used.mean for name, used in usage.items()},
        core_dynamic_j=tuple(energy.core_dynamic_j().tolist()),
        core_dark_share=tuple(energy.core_dark_share.tolist()),
    )


def _baseline(name: str, artifact: Artifact, stimulus: Stimulus) -> Baseline:
    trace = simulate(artifact, stimulus)
    energy = estimate_energy(artifact, trace)
    factored = any(spec.part == "V" for spec in artifact.partitioned.projections)
    return Baseline(
        **_measured(trace, energy).model_dump(),
        name=name,
        kind="static" if factored else "dense",
        cores=energy.cores,
    )


def _measured(trace: ExecutionTrace, energy: EnergyReport) -> Measured:
    return Measured(
        accuracy=trace.accuracy(),
        dynamic_j=energy.dynamic_j,
        static_j=energy.static_j,
        static_chip_j=energy.static_chip_j,
        latency_s=energy.latency_s,
    )


def curve_table(curve: Curve) -> Table:
    """One row per budget and per baseline."""
    cores = len(curve.adaptive.points[0].core_dark_share)
    table = Table(
        "program",
        "budget",
        "accuracy",
        "dynamic",
        "static,\nused cores",
        "static,\nchip",
        "latency",
        "rank",
        "dark\ncores",
        title=f"{curve.dataset} on {curve.target}, {curve.samples} samples, {curve.adaptive.name}: "
        "means per inference",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for point in curve.adaptive.falling():
        dark = sum(share == 1.0 for share in point.core_dark_share)
        table.add_row(
            "adaptive",
            with_prefix(point.budget_j, "J"),
            *_figures(point),
            ", ".join(f"{mean:.1f}" for mean in point.mean_rank.values()),
            f"{dark} of {cores}",
        )
    for baseline in curve.baselines:
        table.add_row(baseline.name, "–", *_figures(baseline), "–", "–")
    return table


def _figures(measured: Measured) -> list[str]:
    return [
        "–" if measured.accuracy is None else f"{measured.accuracy:.2%}",
        with_prefix(measured.dynamic_j, "J"),
        with_prefix(measured.static_j, "J"),
        with_prefix(measured.static_chip_j, "J"),
        with_prefix(measured.latency_s, "s"),
    ]
