"""What a layer costs at a rank, in the unit of a budget."""

from __future__ import annotations

from typing import Literal

from adlrns_neuro.conversion.candidates import Candidate
from adlrns_neuro.conversion.statistics import InputStatistics
from adlrns_neuro.perf import PerfEstimator

CostUnit = Literal["macs", "weights", "mj"]
"""Multiply-accumulates or modelled energy [mJ] of one sample of the model, or resident weights."""


def layer_cost(
    candidate: Candidate,
    statistics: InputStatistics,
    rank: int | None,
    unit: CostUnit,
    perf_estimator: PerfEstimator | None = None,
) -> float:
    """Cost per sample of the model at ``rank``, or of the full matrix if None."""
    fan_in, out = candidate.fan_in, candidate.out
    weights = fan_in * out if rank is None else rank * (fan_in + out)
    if unit == "weights":
        return float(weights)
    if unit == "macs":
        return weights * statistics.positions
    estimator = perf_estimator or PerfEstimator()
    positions, activations = round(statistics.positions), round(statistics.activations)
    if rank is None:
        full = estimator.estimate_dense(fan_in, out, positions=positions, activations=activations)
        return full.energy_mj
    return estimator.estimate(
        fan_in, out, rank, positions=positions, activations=activations
    ).energy_mj
