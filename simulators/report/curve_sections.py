"""Sections about an accuracy-energy curve: ranks, accuracy, dark cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mapping.units import si_prefix, with_prefix
from simulators.curve import BudgetPoint, Curve, Measured
from simulators.report.blocks import (
    Block,
    Cell,
    Hint,
    Legend,
    Picture,
    Prose,
    Quantity,
    Row,
    Section,
    Table,
    column,
    number,
    percent,
)
from simulators.report.chip_maps import strength
from simulators.report.curve_charts import (
    Mark,
    accuracy_curve,
    core_heat,
    rank_bars,
    rank_strength,
)
from simulators.report.sources import Sources
from simulators.report.svg import FILL, HEAT

_OPTION = "--curve curve.json"
_NONE = "–"


def ranks(sources: Sources) -> Section:
    """How often each rank served, by layer and budget."""
    curve = sources.curve
    if curve is None:
        block = _without_curve(sources, "how often each rank serves")
        return Section(key="ranks", title="Ranks", blocks=(block,))
    points = curve.adaptive.falling()
    blocks: tuple[Block, ...] = tuple(
        Row(items=(_rank_picture(number, layer, points), _rank_table(layer, points)))
        for number, layer in enumerate(points[0].ranks)
    )
    if not blocks:
        blocks = (Prose(text="The curve names no low-rank layer."),)
    return Section(key="ranks", title="Ranks", blocks=blocks)


def accuracy_energy(sources: Sources) -> Section:
    """What accuracy each energy budget buys, and which cores go dark for it."""
    curve = sources.curve
    if curve is None:
        block = _without_curve(sources, "accuracy and energy at each budget")
        return Section(key="curve", title="Accuracy and energy", blocks=(block,))
    points = curve.adaptive.falling()
    lead = Prose(
        text=f"{curve.adaptive.name} on {curve.samples:,} samples of {curve.dataset} "
        f"({curve.split}), compiled once for {curve.target}; every budget is the same program with "
        "another price of energy."
    )
    return Section(
        key="curve",
        title="Accuracy and energy",
        blocks=(lead, _accuracy(curve, points), _numbers(curve, points), _cores(points)),
    )


def _without_curve(sources: Sources, missing: str) -> Block:
    """What to say without a curve: programs without gates have none."""
    if sources.artifact.partitioned.gated_layers():
        return Hint(missing=missing, option=_OPTION)
    return Prose(text="The program has no gates: every layer runs at one rank, at one energy.")


def _rank_picture(number: int, layer: str, points: Sequence[BudgetPoint]) -> Picture:
    found = _ranks_of(layer, points)
    unit, budgets = column([point.budget_j for point in points], "J")
    first, last = points[0].mean_rank[layer], points[-1].mean_rank[layer]
    return Picture(
        title=f"Ranks of {layer}",
        caption="Share of samples and steps that each rank served; the budget falls downwards.",
        svg=rank_bars(
            f"ranks-{number}",
            f"Stacked bars: share of each rank of {layer} by budget; the mean rank goes from "
            f"{first:.3g} at the largest budget to {last:.3g} at the smallest.",
            [budget.text for budget in budgets],
            {rank: [_share(point, layer, rank) for point in points] for rank in found},
            unit=unit,
        ),
        legend=tuple(
            Legend(
                name=f"rank {rank}",
                colour="fill",
                strength=round(strength(rank_strength(place, len(found))), 3),
            )
            for place, rank in enumerate(found)
        ),
    )


def _rank_table(layer: str, points: Sequence[BudgetPoint]) -> Table:
    found = _ranks_of(layer, points)
    unit, budgets = column([point.budget_j for point in points], "J")
    return Table(
        caption=f"The same of {layer} in numbers",
        columns=(f"budget [{unit}]", *(f"rank {rank}" for rank in found), "mean rank"),
        rows=tuple(
            (
                budget,
                *(percent(_share(point, layer, rank)) for rank in found),
                Quantity(value=point.mean_rank[layer], text=f"{point.mean_rank[layer]:.2f}"),
            )
            for budget, point in zip(budgets, points, strict=True)
        ),
    )


def _ranks_of(layer: str, points: Sequence[BudgetPoint]) -> list[int]:
    return sorted({int(rank) for point in points for rank in point.ranks[layer]})


def _share(point: BudgetPoint, layer: str, rank: int) -> float:
    return point.ranks[layer].get(str(rank), 0.0)


def _accuracy(curve: Curve, points: Sequence[BudgetPoint]) -> Block:
    if all(point.accuracy is None for point in points):
        return Prose(text="Accuracy is unknown: the input has no labels.")
    energies: dict[str, Callable[[Measured], float]] = {
        "dynamic energy": lambda measured: measured.dynamic_j,
        "dynamic + static energy": lambda measured: measured.energy_j,
    }
    return Row(
        items=tuple(
            _accuracy_picture(number, quantity, curve, points, energy_j)
            for number, (quantity, energy_j) in enumerate(energies.items())
        )
    )


def _accuracy_picture(
    number: int,
    quantity: str,
    curve: Curve,
    points: Sequence[BudgetPoint],
    energy_j: Callable[[Measured], float],
) -> Picture:
    marks = [
        Mark(energy_j=energy_j(point), accuracy=point.accuracy)
        for point in points
        if point.accuracy is not None
    ]
    baselines = [
        Mark(energy_j=energy_j(b), accuracy=b.accuracy, name=b.name, kind=b.kind)
        for b in curve.baselines
        if b.accuracy is not None
    ]
    ends = " to ".join(
        f"{mark.accuracy:.1%} at {with_prefix(mark.energy_j, 'J')}"
        for mark in (marks[-1], marks[0])
    )
    others = "; ".join(
        f"{mark.name}: {mark.accuracy:.1%} at {with_prefix(mark.energy_j, 'J')}"
        for mark in baselines
    )
    return Picture(
        title=f"Accuracy against {quantity}",
        caption="Means per inference; energies are estimates, static energy that of used cores.",
        svg=accuracy_curve(
            f"accuracy-{number}",
            f"Accuracy against {quantity}: {curve.adaptive.name} from {ends}."
            + (f" Baselines: {others}." if others else ""),
            marks,
            baselines,
            quantity=quantity,
        ),
        legend=(
            Legend(
                name=f"{curve.adaptive.name}, one point a budget", colour="series-0", shape="solid"
            ),
        ),
    )


def _numbers(curve: Curve, points: Sequence[BudgetPoint]) -> Table:
    layers = tuple(points[0].mean_rank)
    measured: list[Measured] = [*points, *curve.baselines]
    budget_unit, budgets = column([point.budget_j for point in points], "J")
    dynamic_unit, dynamic = column([m.dynamic_j for m in measured], "J")
    static_unit, static = column([m.static_j for m in measured], "J")
    total_unit, total = column([m.energy_j for m in measured], "J")
    chip_unit, chip = column([m.static_chip_j for m in measured], "J")
    time_unit, time = column([m.latency_s for m in measured], "s")
    heads: list[tuple[Cell, ...]] = [
        (
            curve.adaptive.name,
            budgets[place],
            number(point.price),
            *(
                Quantity(value=point.mean_rank[layer], text=f"{point.mean_rank[layer]:.2f}")
                for layer in layers
            ),
            number(len(point.core_dynamic_j)),
        )
        for place, point in enumerate(points)
    ]
    heads += [
        (b.name, _NONE, _NONE, *(_NONE for _ in layers), number(b.cores)) for b in curve.baselines
    ]
    accuracies = [_NONE if m.accuracy is None else percent(m.accuracy, digits=2) for m in measured]
    return Table(
        caption="Every budget in numbers, means per inference; the last column would come instead "
        "of the static energy of the used cores if the chip's unused cores stayed on",
        columns=(
            "program",
            f"budget [{budget_unit}]",
            "price",
            *(f"mean rank of {layer}" for layer in layers),
            "cores",
            "accuracy",
            f"latency [{time_unit}]",
            f"dynamic [{dynamic_unit}]",
            f"static, used cores [{static_unit}]",
            f"dynamic + static [{total_unit}]",
            f"static, whole chip [{chip_unit}]",
        ),
        rows=tuple(
            (*head, *rest)
            for head, *rest in zip(
                heads, accuracies, time, dynamic, static, total, chip, strict=True
            )
        ),
    )


def _cores(points: Sequence[BudgetPoint]) -> Row:
    budget_unit, cells = column([point.budget_j for point in points], "J")
    budgets = [cell.text for cell in cells]
    dark = 100 * np.array([point.core_dark_share for point in points]).T
    energy_j = np.array([point.core_dynamic_j for point in points]).T
    factor, prefix = si_prefix(float(energy_j.max(initial=0.0)))
    first, last = dark[:, 0].mean(), dark[:, -1].mean()
    return Row(
        items=(
            Picture(
                title="Dark cores",
                caption="Share of samples and steps in which nothing reached a core and it updated "
                "nothing, as the budget falls from left to right.",
                svg=core_heat(
                    "dark",
                    f"Heat map of the dark share of each core by budget; its mean over cores goes "
                    f"from {first:.0f} % at the largest budget to {last:.0f} % at the smallest.",
                    budgets,
                    dark,
                    largest=100.0,
                    colour=FILL,
                    unit="dark [% of samples and steps]",
                    budget_unit=budget_unit,
                ),
            ),
            Picture(
                title="Dynamic energy per core",
                caption="Of the same cores at the same budgets, means per inference.",
                svg=core_heat(
                    "core-energy",
                    "Heat map of the dynamic energy of each core by budget.",
                    budgets,
                    energy_j / factor,
                    largest=float(energy_j.max()) / factor or 1.0,
                    colour=HEAT,
                    unit=f"dynamic energy per inference [{prefix}J]",
                    budget_unit=budget_unit,
                ),
            ),
        )
    )
