"""One program beside conventional processors: same network, same input, every budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.budget import price_for
from mapping.processors.spec import NumberFormat, ProcessorSpec
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.energy.conventional import ProcessorEstimate, on_processors, workload_of
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.ranks import rank_usage
from simulators.trace import Stimulus

SCHEMA = "adlrns-side-by-side/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBudget:
    """Every device at one budget.

    Attributes:
        budget_j: dynamic energy per sample that the gates keep to; None without a budget.
        accuracy: share of right answers; None without labels.
        mean_rank: of gated layers.
        chip: the estimate for the chip.
        processors: estimates for processors, at those ranks.
    """

    budget_j: float | None
    accuracy: float | None
    mean_rank: dict[str, float]
    chip: EnergyReport
    processors: tuple[ProcessorEstimate, ...]

    @property
    def dark_cores(self) -> list[int]:
        """Cores that were dark in every step of every sample."""
        return np.flatnonzero(self.chip.core_dark_share == 1.0).tolist()

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        chip = self.chip
        return {
            "budget_j": self.budget_j,
            "accuracy": self.accuracy,
            "mean_rank": self.mean_rank,
            "chip": {
                "target": chip.chip.name,
                "kind": "modelled",
                "energy_j": chip.total_j,
                "dynamic_j": chip.dynamic_j,
                "static_j": chip.static_j,
                "static_chip_j": chip.static_chip_j,
                "interval_j": list(chip.interval_j()),
                "latency_s": chip.latency_s,
                "interval_s": list(chip.interval_s()),
                "status": chip.status,
                "dark_cores": self.dark_cores,
                "dark_share": chip.core_dark_share.tolist(),
                "core_dynamic_j": chip.core_dynamic_j().tolist(),
            },
            "processors": [estimate.as_dict() for estimate in self.processors],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """A program beside processors.

    Attributes:
        program, target: names.
        samples: number of samples.
        points: by falling budget.
    """

    program: str
    target: str
    samples: int
    points: tuple[AtBudget, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "schema": SCHEMA,
            "program": self.program,
            "target": self.target,
            "samples": self.samples,
            "points": [point.as_dict() for point in self.points],
        }


def budgets_of(artifact: Artifact, points: int) -> list[float | None]:
    """So many falling budgets of a gated program, even from its most to its least; else None."""
    energies = [entry.energy_j for entry in artifact.budgets]
    if not energies:
        return [None]
    return list(np.linspace(max(energies), min(energies), points).tolist())


def side_by_side(
    artifact: Artifact,
    stimulus: Stimulus,
    *,
    budgets: Sequence[float | None],
    processors: Sequence[ProcessorSpec],
    batches: Sequence[int] = (1,),
    number_format: NumberFormat = "fp32",
) -> SideBySide:
    """Run ``artifact`` at each of ``budgets`` and price every run on every device.

    Args:
        artifact: the compiled program.
        stimulus: its input.
        budgets: dynamic energies per sample [J]; None lets every gate on that gains anything.
        processors: what to compare with.
        batches: samples that a processor computes together.
        number_format: of the processors.

    Raises:
        ConfigError: ADL-BUD-01, there is a budget but no gate or no calibration data; ADL-HWC-01
            and -02, see :func:`simulators.energy.conventional.on_processor`; ADL-INP-…, the
            stimulus does not suit the program.
    """
    found = []
    for budget_j in budgets:
        price = 0.0 if budget_j is None else price_for(artifact, budget_j)
        trace = simulate(artifact, stimulus, price=price)
        work = workload_of(artifact, trace)
        found.append(
            AtBudget(
                budget_j=budget_j,
                accuracy=trace.accuracy(),
                mean_rank={n: used.mean for n, used in rank_usage(artifact, trace).items()},
                chip=estimate_energy(artifact, trace),
                processors=on_processors(
                    work, processors, batches=batches, number_format=number_format
                ),
            )
        )
    return SideBySide(
        program=artifact.partitioned.name,
        target=artifact.chip.name,
        samples=stimulus.samples,
        points=tuple(found),
    )


def device_table(found: SideBySide) -> Table:
    """One row per device: energy and latency per inference at every budget."""
    table = Table(
        "device",
        "batch",
        title=f"{found.program}, {found.samples} samples: modelled energy per inference, "
        "time until it is done",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for point in found.points:
        budget = "" if point.budget_j is None else with_prefix(point.budget_j, "J")
        table.add_column(budget or "energy, time", justify="right")
    table.add_column("figures")
    rows = [("accuracy", [_percent(point.accuracy) for point in found.points])]
    for layer in found.points[0].mean_rank:
        rows.append((f"rank of {layer}", [f"{p.mean_rank[layer]:.1f}" for p in found.points]))
    rows.append(("dark cores", [_numbers(point.dark_cores) for point in found.points]))
    for name, cells in rows:
        table.add_row(name, "", *cells, "")
    table.add_section()
    chips = [(p.chip.total_j, p.chip.latency_s) for p in found.points]
    table.add_row(found.target, "1", *map(_cost, chips), found.points[0].chip.status)
    for number, first in enumerate(found.points[0].processors):
        same = [p.processors[number] for p in found.points]
        costs = [_cost((e.energy_j, e.latency_s)) for e in same]
        table.add_row(first.processor, str(first.batch), *costs, first.status)
    return table


def _cost(cost: tuple[float, float]) -> str:
    energy_j, latency_s = cost
    return f"{with_prefix(energy_j, 'J', digits=2)}\n{with_prefix(latency_s, 's', digits=2)}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _numbers(cores: list[int]) -> str:
    return ", ".join(map(str, cores)) or "none"
