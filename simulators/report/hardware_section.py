"""The section about conventional processors beside the chip."""

from __future__ import annotations

from simulators.energy.side_by_side import AtBudget, DeviceCost, SideBySide
from simulators.report.blocks import (
    Caution,
    Cell,
    Hint,
    Prose,
    Section,
    Table,
    interval,
    number,
    percent,
    quantity,
)
from simulators.report.sources import Sources

_TITLE = "Beside conventional processors"
_NONE = "–"


def devices(sources: Sources) -> Section:
    """What the same network on the same input costs on other devices, at each budget."""
    found = sources.hardware
    if found is None:
        hint = Hint(missing="energy and latency on processors", option="--hardware hardware.json")
        return Section(key="hardware", title=_TITLE, blocks=(hint,))
    caution = Caution(
        lead="Modelled, not measured.",
        text="Processors compute every step densely, at the mean rank that the gates asked for, or "
        "all at full rank; launches, idling, operations and memory are modelled, frameworks and "
        "hosts are not: a small network at batch 1 takes far more in practice. The chip has its "
        "used cores' static energy, not its host.",
    )
    lead = Prose(
        text=f"{found.samples:,} samples, numbers in {found.number_format}. Energies are per "
        "inference, times until the whole batch is done."
    )
    return Section(
        key="hardware",
        title=_TITLE,
        blocks=(caution, lead, _energies(found), _first(found.points[0])),
    )


def _energies(found: SideBySide) -> Table:
    """One row per device, one column per budget."""
    points = found.points
    rows: list[tuple[Cell, ...]] = []
    if points[0].accuracy is not None:
        shares = ("–" if p.accuracy is None else percent(p.accuracy, digits=2) for p in points)
        rows.append(("accuracy", "", *shares))
    for layer in points[0].mean_rank:
        rows.append((f"rank of {layer}", "", *(number(p.mean_rank[layer]) for p in points)))
    dark = (", ".join(map(str, p.dark_cores())) or "none" for p in points)
    rows.append(("cores dark throughout", "", *dark))
    full = (_NONE,) if found.full_rank else ()
    rows = [(*row, *full) for row in rows]
    for same in found.devices():
        energies = (_NONE if cost is None else quantity(cost.energy_j, "J") for cost in same)
        rows.append((same[0].device, number(same[0].batch), *energies))
    budgets = (_NONE if p.budget_j is None else quantity(p.budget_j, "J").text for p in points)
    return Table(
        caption="Energy per inference, by device and budget",
        columns=("device", "batch", *budgets, *(("full rank",) if full else ())),
        rows=tuple(rows),
    )


def _first(point: AtBudget) -> Table:
    """Intervals and times at the largest budget."""

    def cells(cost: DeviceCost) -> tuple[Cell, ...]:
        return (
            cost.device,
            number(cost.batch),
            quantity(cost.energy_j, "J"),
            interval((cost.energy_low_j, cost.energy_high_j), "J"),
            quantity(cost.latency_s, "s"),
            interval((cost.latency_low_s, cost.latency_high_s), "s"),
            cost.status,
        )

    return Table(
        caption="With intervals and times, at the largest budget",
        columns=("device", "batch", "energy", "within", "time", "within", "figures"),
        rows=tuple(cells(cost) for cost in (point.chip, *point.processors)),
    )
