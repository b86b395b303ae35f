"""Two programs that were measured on silicon, beside what the tables say of them; nothing fitted.

python benchmarks/silicon_cases.py

Both figures of energy are dynamic: power while the network runs minus power at rest, of the whole
board. Host processors and input and output dominate them, which the tables leave out.

* Loihi 1, keyword spotting with 390-256-256-29 neurons, 10 steps per inference. Its spike rates are
  not published: every compartment and every input is assumed to spike in the same share of the
  steps.
* Loihi 2, two LIF neurons and a synapse between them, spiking at 25, 50 and 100 Hz with steps of
  1 ms.

Every compartment is assumed to be updated in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from chip_networks import dense_chain
from energy_networks import pair_of_neurons
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mapping import load_target
from mapping.artifact.schema import Artifact
from mapping.ir.traffic import TrafficProfile
from mapping.latency import DEFAULT_LATENCY_MODEL, LATENCY_MODELS, totals
from mapping.report import expected_work
from mapping.units import with_prefix

KEYWORDS = (390, 256, 256, 29)
KEYWORD_STEPS = 10
KEYWORD_J = 0.272e-3
KEYWORD_S = 1 / 296.5
"""Silicon: Blouw et al., Benchmarking Keyword Spotting Efficiency on Neuromorphic Hardware (2019,
arXiv:1812.01739): network, steps, (110.2 - 29.7) mW over the rate, and 296.5 inferences per second.
"""
KEYWORD_ACTIVITIES = (0.05, 0.1, 0.2)
"""Assumed."""
PAIR_S = 1.164e-6
PAIR_J = (27e-9, 44e-9)
"""Silicon: Balafrej et al., Enhancing temporal learning in recurrent spiking networks for
neuromorphic applications (2025, doi:10.1088/2634-4386/add293), loihi_experiment/res.json of the
code published with it, a board of one chip (Oheo Gulch), per step. The energies are the least and
the most of the means over 100 runs each at three rates and six delays; within such a set of runs
the standard deviation is 17 to 25 nJ.
"""
PAIR_ACTIVITIES = (0.025, 0.05, 0.1)
"""Silicon: the three rates [1/ms]."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A figure of the tables beside that of the chip."""

    case: str
    target: str
    activity: float
    metric: str
    unit: str
    ours: float
    low: float
    high: float
    measured: float

    @property
    def error(self) -> float:
        """Signed, relative to the measurement."""
        return self.ours / self.measured - 1


def comparisons() -> Iterator[Comparison]:
    """Every case at every activity, target and latency model."""
    for name in ("loihi1", "loihi1-fit"):
        program = dense_chain(KEYWORDS, name)
        for activity in KEYWORD_ACTIVITIES:
            case = "keyword spotting"
            yield from _both(
                case,
                program,
                activity,
                steps=KEYWORD_STEPS,
                energies_j=(KEYWORD_J,),
                time_s=KEYWORD_S,
            )
    for activity in PAIR_ACTIVITIES:
        yield from _both(
            "two neurons",
            pair_of_neurons(load_target("loihi2")),
            activity,
            steps=1,
            energies_j=PAIR_J,
            time_s=PAIR_S,
        )


def _both(
    case: str,
    program: Artifact,
    activity: float,
    *,
    steps: int,
    energies_j: tuple[float, ...],
    time_s: float,
) -> Iterator[Comparison]:
    """Dynamic energy, and time by each latency model, of so many ``steps``."""
    chip = program.chip
    work = expected_work(program, _uniform(program, activity))

    def compared(metric: str, unit: str, model: str, measured: float) -> Comparison:
        own, low, high = (
            steps * (t.dynamic_j if unit == "J" else t.latency_s)
            for t in (totals(work, c, model) for c in (chip, chip.at_bound(-1), chip.at_bound(1)))
        )
        return Comparison(
            case=case,
            target=chip.name,
            activity=activity,
            metric=metric,
            unit=unit,
            ours=own,
            low=low,
            high=high,
            measured=measured,
        )

    for energy_j in energies_j:
        yield compared("dynamic energy", "J", DEFAULT_LATENCY_MODEL, energy_j)
    for model in LATENCY_MODELS.names():
        yield compared(f"time, {model}", "s", model, time_s)


def _uniform(program: Artifact, activity: float) -> TrafficProfile:
    populations = program.network.populations
    return TrafficProfile(
        rates={p.name: np.full(p.size, activity) for p in populations},
        updates={p.name: np.ones(p.size) for p in populations},
        held_back={},
        steps=0,
        status="assumed",
    )


def table(found: list[Comparison]) -> Table:
    """One row per figure."""
    shown = Table("case", "target", "activity", "metric", "ours", "interval", "measured", "error")
    shown.box = SIMPLE
    for one in found:
        ends = " … ".join(with_prefix(value, one.unit, digits=2) for value in (one.low, one.high))
        shown.add_row(
            one.case,
            one.target,
            f"{one.activity:.1%}",
            one.metric,
            with_prefix(one.ours, one.unit),
            ends,
            with_prefix(one.measured, one.unit),
            f"{one.error:+.1%}",
        )
    return shown


if __name__ == "__main__":
    Console(width=120).print(table(list(comparisons())))
