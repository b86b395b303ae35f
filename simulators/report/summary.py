"""The first section: the headline figures and how far to trust them."""

from __future__ import annotations

from typing import Any

from mapping.latency import Totals
from simulators.report.blocks import (
    Block,
    Caution,
    Cell,
    Fact,
    Facts,
    Quantity,
    Section,
    Table,
    interval,
    number,
    percent,
    quantity,
)
from simulators.report.sources import Run, Sources

_LEAD = "An estimate, not a measurement."
_LEFT_OUT = (
    "Intervals hold if each constant lies within its factor. Left out are the host processor, "
    "fixed work per step, packets queueing or in transit, voltage and temperature, and reading the "
    "output. Take the figures as a comparison between mappings, not as a data sheet."
)


def summary(sources: Sources) -> Section:
    """What the program is, what an inference costs, and what the estimate leaves out."""
    costs = _run_costs(sources.run) if sources.run else _expected_costs(sources)
    facts = (*costs[0], *_accuracy(sources), *_program(sources.report))
    return Section(key="summary", title="Summary", blocks=(Facts(facts=facts), *costs[1]))


def _run_costs(run: Run) -> tuple[list[Fact], list[Block]]:
    energy = run.energy
    facts = [
        Fact(
            name="Energy per inference",
            value=quantity(energy.total_j, "J"),
            detail=f"{interval(energy.interval_j(), 'J')}, {energy.status} constants",
        ),
        Fact(
            name="Latency per inference",
            value=quantity(energy.latency_s, "s"),
            detail=f"{interval(energy.interval_s(), 's')} for {len(energy.step_s)} steps",
        ),
    ]
    what = (
        f"Actions counted in {energy.samples:,} simulated samples, times the energy table of "
        f"{energy.chip.name} (status of its weakest constant: {energy.status}). "
    )
    mean = Totals(dynamic_j=energy.dynamic_j, static_j=energy.static_j, latency_s=energy.latency_s)
    return facts, [
        Caution(lead=_LEAD, text=what + _LEFT_OUT),
        _split(mean, energy.static_chip_j, energy.cores, energy.chips, "inference"),
    ]


def _expected_costs(sources: Sources) -> tuple[list[Fact], list[Block]]:
    estimate = sources.report["estimate"]
    low, high = estimate["energy_interval_j_per_step"]
    early, late = estimate["latency_interval_s_per_step"]
    facts = [
        Fact(
            name="Energy per step",
            value=quantity(estimate["energy_j_per_step"], "J"),
            detail=f"{interval((low, high), 'J')}, {estimate['status']} constants",
        ),
        Fact(
            name="Latency per step",
            value=quantity(estimate["latency_s_per_step"], "s"),
            detail=f"{interval((early, late), 's')}; a lower estimate",
        ),
    ]
    what = (
        f"A step of {estimate['activity']} mean activity, times the energy table of "
        f"{sources.report['target']} (status of its weakest constant: {estimate['status']}). "
    )
    cores = sources.report["cores"]
    mean = Totals(
        dynamic_j=estimate["dynamic_j_per_step"],
        static_j=estimate["static_j_per_step"],
        latency_s=estimate["latency_s_per_step"],
    )
    return facts, [
        Caution(lead=_LEAD, text=what + _LEFT_OUT),
        _split(mean, estimate["static_chip_j_per_step"], cores["used"], cores["chips"], "step"),
        sources.without_counts("energy, latency and accuracy of an inference"),
    ]


def _split(mean: Totals, static_chip_j: float, cores: int, chips: int, per: str) -> Table:
    values = (mean.dynamic_j, mean.static_j, mean.energy_j, static_chip_j)
    of_cores = "of the used core" if cores == 1 else f"of the {cores} used cores"
    of_chips = "of the whole chip, its" if chips == 1 else f"of the {chips} chips in use, their"
    names = (
        "dynamic",
        f"static, {of_cores}",
        "sum, the energy above",
        f"static {of_chips} unused cores left on",
    )
    return Table(
        caption=f"Energy per {per}",
        columns=("part", "energy"),
        rows=tuple((name, quantity(v, "J")) for name, v in zip(names, values, strict=True)),
    )


def _accuracy(sources: Sources) -> list[Fact]:
    trace = sources.trace
    if trace is None:
        return []
    share = trace.accuracy()
    if share is None:
        return [Fact(name="Accuracy", value="unknown", detail="the input has no labels")]
    error = (share * (1 - share) / trace.samples) ** 0.5
    return [
        Fact(
            name="Accuracy",
            value=percent(share, digits=2),
            detail=f"of {trace.samples:,} samples, standard error {error:.1%}",
        )
    ]


def _program(report: dict[str, Any]) -> list[Fact]:
    network, cores, noc = report["network"], report["cores"], report["noc"]
    busiest = max(cores["per_core"], key=lambda core: core["utilisation"])
    on_chips = f"on {cores['chips']} chips; " if cores["chips"] > 1 else ""
    return [
        Fact(
            name="Cores",
            value=Quantity(value=cores["used"], text=f"{cores['used']} of {cores['available']}"),
            detail=f"{on_chips}busiest: core {busiest['id']}, {busiest['utilisation']:.1%} of its "
            f"{busiest['bottleneck'].replace('_', ' ')}",
        ),
        Fact(name="Neurons", value=number(network["neurons"]), detail="relays included"),
        Fact(name="Synapses", value=number(network["synapses"]), detail="zeros included"),
        _ranks(network["layers"]),
        Fact(
            name="Traffic",
            value=number(noc["hops_per_step"]),
            detail=f"hops per step ({noc['traffic']} activity); {noc['bound']} bound "
            f"{noc['lower_bound']:.4g}, gap {noc['gap']:.0%}",
        ),
    ]


def _ranks(layers: list[dict[str, Any]]) -> Fact:
    low = [layer for layer in layers if layer["kind"] == "low_rank"]
    if not low:
        return Fact(name="Rank", value="full", detail="no low-rank layer")
    ranks = sorted({level for layer in low for level in layer["levels"]})
    if len(ranks) == 1:
        value: Cell = Quantity(value=ranks[0], text=f"{ranks[0]:,}")
    else:
        value = f"{ranks[0]:,} … {ranks[-1]:,}"
    names = ", ".join(layer["name"] for layer in low[:3])
    more = f" and {len(low) - 3} more" if len(low) > 3 else ""
    return Fact(name="Rank", value=value, detail=f"of {names}{more}")
