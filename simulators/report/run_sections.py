"""Sections about the chip and a run: core grid, links, spikes over time, cores."""

from __future__ import annotations

import numpy as np

from mapping.cost import FloatArray
from mapping.units import si_prefix
from simulators.energy.table import energy_notes
from simulators.report.blocks import (
    Block,
    Cell,
    Hint,
    Legend,
    Picture,
    Prose,
    Row,
    Section,
    Table,
    aligned,
    column,
    interval,
    number,
    percent,
    quantity,
)
from simulators.report.chip_maps import core_map, left_out, link_map, link_name
from simulators.report.run_charts import (
    SHOWN_CORES,
    SHOWN_NEURONS,
    component_bars,
    component_legend,
    raster,
    series_legend,
    spikes_over_time,
)
from simulators.report.sources import DARK_SHARE, Run, Sources
from simulators.report.svg import FILL, HEAT

BUSIEST_LINKS = 10
"""Rows of the table of links."""

_DARK = Legend(
    name=f"nothing happened in {DARK_SHARE:.0%} of the steps or more", colour="ink", shape="corner"
)
_HOST = Legend(name="tile at which the host injects the input", colour="series-3", shape="frame")


def core_grid(sources: Sources) -> Section:
    """Where the cores lie, how full they are and what each costs."""
    blocks: list[Block] = []
    pictures = [_occupancy(sources)]
    if sources.run:
        pictures.insert(0, _core_energy(sources, sources.run))
    else:
        blocks.append(sources.without_counts("energy per core"))
    blocks.insert(0, Row(items=tuple(pictures)))
    return Section(key="grid", title="Core grid", blocks=tuple(blocks))


def links(sources: Sources) -> Section:
    """How many packets each link carries."""
    run = sources.run
    if run is None or run.trace.link_packets is None:
        return _left_out("links", "Link load", sources, "the load of every link")
    trace = run.trace
    assert trace.link_packets is not None
    loads = np.asarray(trace.link_packets / (trace.samples * trace.steps), np.float64)
    total = float(loads.sum())
    if not total:
        nothing = Prose(text="No packet crosses a link.")
        return Section(key="links", title="Link load", blocks=(nothing,))
    largest = int(loads.argmax())
    mesh = sources.artifact.chip.mesh
    start, end = link_name(largest, mesh)
    unit = "packets per step"
    picture = Picture(
        title="Load per link",
        caption=f"Mean {unit} over each directed link of the mesh, as wide and as strong as its "
        "load. Tiles with used cores are outlined." + left_out(sources.artifact),
        legend=(_HOST,),
        svg=link_map(
            "links",
            f"Map of the mesh with the load of each link; the busiest leads from tile {start} to "
            f"{end} and carries {loads[largest]:.3g} {unit}.",
            sources.artifact,
            loads,
            unit=unit,
        ),
    )
    used = np.count_nonzero(loads)
    busiest = np.argsort(-loads, kind="stable")[: min(BUSIEST_LINKS, used)]
    rows = tuple(
        (
            *link_name(link, mesh),
            load,
            percent(load.value / total),
        )
        for link, load in zip(busiest.tolist(), aligned(loads[busiest].tolist()), strict=True)
    )
    table = Table(
        caption=f"The {BUSIEST_LINKS} busiest of {used} links in use"
        if used > BUSIEST_LINKS
        else "All links in use, the busiest first",
        columns=("from tile", "to tile", unit, "share of all hops"),
        rows=rows,
    )
    return Section(key="links", title="Link load", blocks=(Row(items=(picture, table)),))


def spikes(sources: Sources) -> Section:
    """When the populations spike."""
    trace = sources.trace
    if trace is None:
        hint = Hint(missing="spikes over time", option="--trace trace.npz")
        return Section(key="spikes", title="Spikes over time", blocks=(hint,))
    latency = sources.artifact.partitioned.latency_steps
    names = list(trace.spikes)
    legend = series_legend(names)
    answer = int(trace.predictions()[0])
    label = "" if trace.labels is None else f", label {int(trace.labels[0])}"
    large = any(s.shape[2] > SHOWN_NEURONS for s in trace.spikes.values())
    cut = f" Of larger populations the first {SHOWN_NEURONS} neurons." if large else ""
    means = "; ".join(f"{name} {(s != 0).mean():.3f}" for name, s in trace.spikes.items())
    mean_picture = Picture(
        title="Spikes per neuron and step",
        caption=f"Mean over {trace.samples:,} samples and all neurons of a population; a relay's "
        f"graded spike counts as one. The last {latency} steps drain the pipeline.",
        svg=spikes_over_time("spikes", f"Mean spikes per neuron and step: {means}.", trace),
        legend=legend,
    )
    raster_picture = Picture(
        title="Spikes of sample 0",
        caption=f"Answer {answer}{label}. One row a neuron, one band a population.{cut}",
        svg=raster(
            "raster",
            f"Raster of all spikes of sample 0 over {trace.steps} steps, by population: "
            f"{', '.join(names)}.",
            trace,
            sample=0,
        ),
    )
    blocks = (Row(items=(mean_picture, raster_picture)),)
    return Section(key="spikes", title="Spikes over time", blocks=blocks)


def cores(sources: Sources) -> Section:
    """What each core holds, how full it is, and what it costs by component."""
    blocks: list[Block] = []
    if sources.run:
        blocks += _core_costs(sources, sources.run)
    else:
        blocks.append(sources.without_counts("energy by core and component"))
    mesh = sources.artifact.chip.mesh
    columns = ("core", "tile", "holds", "neurons", "synapse words", "in axons", "out axons")
    rows = tuple(
        (
            number(core["id"]),
            mesh.tile_name(core["chip"], core["x"], core["y"]),
            ", ".join(core["holds"]),
            number(core["neurons"]),
            number(core["synapse_words"]),
            number(core["in_axons"]),
            number(core["out_axons"]),
            percent(core["utilisation"]),
            core["bottleneck"].replace("_", " "),
        )
        for core in sources.report["cores"]["per_core"]
    )
    table = Table(
        caption="What each used core holds, and how full its scarcest resource is",
        columns=(*columns, "full", "scarcest"),
        rows=rows,
    )
    return Section(key="cores", title="Cores", blocks=(*blocks, table))


def _left_out(key: str, title: str, sources: Sources, missing: str) -> Section:
    return Section(key=key, title=title, blocks=(sources.without_counts(missing),))


def _core_energy(sources: Sources, run: Run) -> Picture:
    energies = run.energy.core_j()
    factor, prefix = si_prefix(float(energies.max()))
    dark = run.dark_cores()
    costliest = int(energies.argmax())
    marked = f" Dark in at least {DARK_SHARE:.0%} of the steps: {len(dark)}." if dark else ""
    return Picture(
        title="Energy per core",
        caption="Dynamic energy and static share of each used core, per inference. Unused cores "
        "are outlined faintly." + left_out(sources.artifact),
        svg=core_map(
            "grid-energy",
            f"Map of the cores shaded by energy; core {costliest} takes most, "
            f"{energies[costliest] / factor:.3g} {prefix}J.{marked}",
            sources.artifact,
            energies / factor,
            colour=HEAT,
            unit=f"energy per inference [{prefix}J]",
            dark=dark,
        ),
        legend=(_HOST, _DARK) if dark else (_HOST,),
    )


def _occupancy(sources: Sources) -> Picture:
    shares = np.array([core["utilisation"] for core in sources.report["cores"]["per_core"]])
    fullest = int(shares.argmax())
    return Picture(
        title="Occupancy",
        caption="Share taken of each used core's scarcest resource. Unused cores are outlined "
        "faintly." + left_out(sources.artifact),
        legend=(_HOST,),
        svg=core_map(
            "grid-occupancy",
            f"Map of the cores shaded by occupancy; core {fullest} is the fullest, "
            f"{shares[fullest]:.1%}.",
            sources.artifact,
            100 * shares,
            colour=FILL,
            unit="share of the scarcest resource [%]",
        ),
    )


def _core_costs(sources: Sources, run: Run) -> list[Block]:
    energy = run.energy
    parts: dict[str, FloatArray] = {
        **{name: np.asarray(e.sum(axis=0)) for name, e in energy.core_step_j.items()},
        "static": np.full(energy.cores, energy.static_core_j),
    }
    totals = energy.core_j()
    costliest = int(totals.argmax())
    cut = f" The {SHOWN_CORES} costliest cores." if energy.cores > SHOWN_CORES else ""
    sums = {**energy.component_j(), "static": energy.static_j}
    picture = Picture(
        title="Energy by core and component",
        caption=f"One bar a core, its energy per inference cut by component.{cut}",
        svg=component_bars(
            "components",
            f"Stacked bars of energy by core and component; core {costliest} takes most.",
            parts,
        ),
        legend=component_legend(parts),
    )
    intervals, statuses = energy.intervals_j(), energy.statuses()
    overall = Table(
        caption="All used cores together, per inference",
        columns=("component", "energy", "share", "within", "status"),
        rows=tuple(
            (
                name.replace("_", " "),
                quantity(share_j, "J"),
                percent(share_j / energy.total_j),
                interval(intervals[name], "J"),
                statuses[name],
            )
            for name, share_j in {**sums, "total": energy.total_j}.items()
        ),
    )
    everything = np.stack([*parts.values(), totals], axis=1)
    unit, cells = column(everything.ravel().tolist(), "J")
    width, mesh = len(parts) + 1, sources.artifact.chip.mesh
    rows: list[tuple[Cell, ...]] = [
        (
            number(core),
            mesh.tile_name(slot.chip, slot.x, slot.y),
            *cells[core * width : (core + 1) * width],
        )
        for core, slot in enumerate(sources.artifact.placement.slots)
    ]
    table = Table(
        caption=f"Energy per inference by core and component, in {unit}",
        columns=("core", "tile", *(name.replace("_", " ") for name in parts), "total"),
        rows=tuple(rows),
    )
    notes = [Prose(text=f"{note}.") for note in energy_notes(energy)]
    return [Row(items=(picture, overall)), *notes, table]
