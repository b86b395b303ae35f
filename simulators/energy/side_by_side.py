"""One program beside conventional processors: same network, same input, every budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.budget import price_for
from mapping.errors import ConfigError
from mapping.processors.spec import NumberFormat, ProcessorSpec
from mapping.targets.figures import Status
from mapping.units import with_prefix
from simulators.backend import simulate
from simulators.energy.conventional import ProcessorEstimate, on_processors, workload
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.ranks import rank_usage
from simulators.record import NonNegative, Record, RecordFile
from simulators.trace import Stimulus

SCHEMA = "adlrns-side-by-side/2"
BATCHES = (1, 256)
"""One sample as it comes, and so many that a processor is busy."""
Share = Annotated[float, Field(ge=0, le=1)]


class DeviceCost(Record):
    """What an inference costs on a device.

    Attributes:
        device: name of a target or processor; batch: samples that it computes together.
        kind: nothing here was measured.
        energy_j: per sample, idle and static shares included [J].
        energy_low_j, energy_high_j: if every figure lies within its factor [J].
        latency_s, latency_low_s, latency_high_s: until the whole batch is done [s].
        status: the weakest among the figures.
    """

    device: str
    batch: Annotated[int, Field(ge=1)]
    kind: Literal["modelled"]
    energy_j: NonNegative
    energy_low_j: NonNegative
    energy_high_j: NonNegative
    latency_s: NonNegative
    latency_low_s: NonNegative
    latency_high_s: NonNegative
    status: Status


class AtBudget(Record):
    """Every device at one budget.

    Attributes:
        budget_j: dynamic energy per sample that the gates keep to [J]; None without a budget.
        accuracy: share of right answers; None without labels.
        mean_rank: of gated layers.
        dynamic_j: of the energy on the chip, what is not static [J].
        core_dark_share: ``(cores,)`` share of samples and steps in which a core was dark.
        chip: the cost on the chip, on its used cores.
        processors: the cost on processors, at those ranks.
    """

    budget_j: NonNegative | None
    accuracy: Share | None
    mean_rank: dict[str, NonNegative]
    dynamic_j: NonNegative
    core_dark_share: tuple[Share, ...]
    chip: DeviceCost
    processors: tuple[DeviceCost, ...]

    def dark_cores(self) -> list[int]:
        """Cores that were dark in every step of every sample."""
        return [core for core, share in enumerate(self.core_dark_share) if share == 1.0]


class SideBySide(RecordFile):
    """A program beside processors.

    Attributes:
        program: fingerprint of the artifact.
        network, target: names; samples: number of samples.
        number_format: in which the processors compute.
        points: by falling budget.
        full_rank: the cost on the same processors if every gated layer runs at full rank, as it
            does where a kernel has one rank for all samples; empty without gates.
    """

    what = "comparison"
    schema_name = SCHEMA
    code = "ADL-SBS-01"
    format: Literal["adlrns-side-by-side/2"] = Field(alias="schema")
    program: str
    network: str
    target: str
    samples: Annotated[int, Field(ge=1)]
    number_format: NumberFormat
    points: Annotated[tuple[AtBudget, ...], Field(min_length=1)]
    full_rank: tuple[DeviceCost, ...]

    @model_validator(mode="after")
    def _same_devices(self) -> Self:
        costs = [point.processors for point in self.points]
        costs += [self.full_rank] if self.full_rank else []
        rows = {tuple((c.device, c.batch) for c in same) for same in costs}
        if len(rows) > 1 or len({tuple(point.mean_rank) for point in self.points}) > 1:
            raise ValueError("points differ in their devices or layers")
        return self

    def devices(self) -> Iterator[tuple[DeviceCost, *tuple[DeviceCost | None, ...]]]:
        """By device, the chip first: its cost at every budget, then, with gates, at full rank.

        The chip has no cost at full rank: its relays and gates are part of the program.
        """
        rows = zip(*((point.chip, *point.processors) for point in self.points), strict=True)
        last = (None, *self.full_rank) if self.full_rank else None
        for number, (first, *others) in enumerate(rows):
            yield (first, *others, *(() if last is None else (last[number],)))

    def checked(self, artifact: Artifact, *, where: str = "hardware") -> SideBySide:
        """This comparison, if ``artifact`` is the program that it is about.

        Raises:
            ConfigError: ADL-SBS-02, naming ``where``.
        """
        if self.program != artifact.origin.fingerprint():
            raise ConfigError(
                "it is about another compiled program",
                where=where,
                remedy="compare this artifact and use that file",
                code="ADL-SBS-02",
            )
        return self


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

    def priced(ranks: Mapping[str, float]) -> tuple[DeviceCost, ...]:
        estimates = on_processors(
            workload(artifact, stimulus.steps, ranks),
            processors,
            batches=batches,
            number_format=number_format,
        )
        return tuple(map(_of_processor, estimates))

    found = []
    for budget_j in budgets:
        price = 0.0 if budget_j is None else price_for(artifact, budget_j)
        trace = simulate(artifact, stimulus, price=price)
        energy = estimate_energy(artifact, trace)
        ranks = {layer: used.mean for layer, used in rank_usage(artifact, trace).items()}
        found.append(
            AtBudget(
                budget_j=budget_j,
                accuracy=trace.accuracy(),
                mean_rank=ranks,
                dynamic_j=energy.dynamic_j,
                core_dark_share=tuple(energy.core_dark_share.tolist()),
                chip=_of_chip(energy),
                processors=priced(ranks),
            )
        )
    return SideBySide(
        schema="adlrns-side-by-side/2",
        program=artifact.origin.fingerprint(),
        network=artifact.partitioned.name,
        target=artifact.chip.name,
        samples=stimulus.samples,
        number_format=number_format,
        points=tuple(found),
        full_rank=priced({}) if artifact.partitioned.gated_layers() else (),
    )


def _of_chip(energy: EnergyReport) -> DeviceCost:
    total = energy.total_j, *energy.interval_j()
    return _device_cost(
        energy.chip.name, 1, total, (energy.latency_s, *energy.interval_s()), energy.status
    )


def _of_processor(estimate: ProcessorEstimate) -> DeviceCost:
    return _device_cost(
        estimate.processor,
        estimate.batch,
        (estimate.energy_j, *estimate.interval_j),
        (estimate.latency_s, *estimate.interval_s),
        estimate.status,
    )


def _device_cost(
    device: str,
    batch: int,
    energies_j: tuple[float, float, float],
    latencies_s: tuple[float, float, float],
    status: Status,
) -> DeviceCost:
    """A cost; energies and latencies are the estimate, its lower and its upper bound."""
    energy_j, energy_low_j, energy_high_j = energies_j
    latency_s, latency_low_s, latency_high_s = latencies_s
    return DeviceCost(
        device=device,
        batch=batch,
        kind="modelled",
        energy_j=energy_j,
        energy_low_j=energy_low_j,
        energy_high_j=energy_high_j,
        latency_s=latency_s,
        latency_low_s=latency_low_s,
        latency_high_s=latency_high_s,
        status=status,
    )


def device_table(found: SideBySide) -> Table:
    """One row per device: energy and latency per inference at every budget and at full rank."""
    table = Table(
        title=f"{found.network}, {found.samples} samples: modelled energy per inference, "
        "time until it is done",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("device", no_wrap=True)
    for point in found.points:
        budget = "" if point.budget_j is None else with_prefix(point.budget_j, "J")
        table.add_column(budget or "energy, time", justify="right")
    if found.full_rank:
        table.add_column("full\nrank", justify="right")
    table.add_column("within", no_wrap=True)
    rows = [("accuracy", [_percent(point.accuracy) for point in found.points])]
    for layer in found.points[0].mean_rank:
        rows.append((f"rank of {layer}", [f"{p.mean_rank[layer]:.1f}" for p in found.points]))
    rows.append(("dark cores", [_numbers(point.dark_cores()) for point in found.points]))
    for name, cells in rows:
        table.add_row(name, *cells)
    table.add_section()
    for same in found.devices():
        first = same[0]
        costs = ["–" if cost is None else _cost(cost) for cost in same]
        table.add_row(f"{first.device}\nbatch {first.batch}", *costs, _within(first))
    return table


def _cost(cost: DeviceCost) -> str:
    energy, latency = (cost.energy_j, "J"), (cost.latency_s, "s")
    return "\n".join(with_prefix(value, unit, digits=2) for value, unit in (energy, latency))


def _within(cost: DeviceCost) -> str:
    """How much less and more the energy may be, and the weakest status."""
    low, own, high = cost.energy_low_j, cost.energy_j, cost.energy_high_j
    factors = f"÷{own / low:.2g} ×{high / own:.2g}" if low > 0 else "–"
    return f"{factors}\n{cost.status}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _numbers(cores: list[int]) -> str:
    return ", ".join(map(str, cores)) or "none"
