"""Charts of a run: spikes over time, energy by component."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mapping.cost import FloatArray
from mapping.units import si_prefix
from simulators.report.blocks import Legend, Shape
from simulators.report.svg import FAINT, SERIES, SURFACE, draw
from simulators.trace import ExecutionTrace

SHOWN_NEURONS = 128
"""Neurons of a population in the raster, so that the page stays small."""
SHOWN_CORES = 40
"""Rows of the chart of energy by component."""

_SHAPES: tuple[Shape, ...] = ("solid", "dashed", "dotted")


def series_legend(names: list[str]) -> tuple[Legend, ...]:
    """The lines of :func:`spikes_over_time`."""
    return tuple(
        Legend(
            name=name,
            colour=f"series-{number % len(SERIES)}",
            shape=_SHAPES[number % len(_SHAPES)],
        )
        for number, name in enumerate(names)
    )


def spikes_over_time(key: str, alt: str, trace: ExecutionTrace) -> Markup:
    """Spikes per neuron in each step, the mean over samples and neurons, a line a population."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for number, spikes in enumerate(trace.spikes.values()):
            axes.plot(
                (spikes != 0).mean(axis=(0, 2)),
                color=SERIES[number % len(SERIES)],
                linestyle=_SHAPES[number % len(_SHAPES)],
                linewidth=2,
            )
        axes.set(xlim=(-0.5, trace.steps - 0.5), xlabel="step", ylabel="spikes per neuron and step")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(key, alt, 240, paint)


def raster(key: str, alt: str, trace: ExecutionTrace, *, sample: int) -> Markup:
    """Every spike of one sample, a band for each population."""
    shown = {name: spikes[sample, :, :SHOWN_NEURONS] for name, spikes in trace.spikes.items()}
    neurons = sum(spikes.shape[1] for spikes in shown.values())
    # A band needs room for its name, a neuron for its stroke.
    bands = [max(14.0, 320 * spikes.shape[1] / neurons) for spikes in shown.values()]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        base = 0.0
        ticks: list[tuple[float, str]] = []
        for number, (name, spikes) in enumerate(shown.items()):
            height, size = bands[number], spikes.shape[1]
            stroke = height / size
            steps, places = np.nonzero(spikes)
            low = base + places * stroke + 0.1 * stroke
            gap = np.full(steps.shape, np.nan)
            axes.plot(
                np.stack([steps, steps, gap], axis=1).ravel(),
                np.stack([low, low + 0.8 * stroke, gap], axis=1).ravel(),
                color=SERIES[number % len(SERIES)],
                linewidth=max(1.0, min(5.0, 150 / trace.steps)),
                solid_capstyle="butt",
            )
            ticks.append((base + height / 2, _short(name)))
            base += height
            axes.axhline(base, color=FAINT, linewidth=0.8)
        axes.set(xlim=(-0.5, trace.steps - 0.5), ylim=(base, 0), xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
        axes.tick_params(axis="y", length=0)

    return draw(key, alt, sum(bands) + 50, paint)


def component_legend(parts: dict[str, FloatArray]) -> tuple[Legend, ...]:
    """The colours of :func:`component_bars`."""
    return tuple(
        Legend(name=name.replace("_", " "), colour=f"series-{number}")
        for number, name in enumerate(parts)
    )


def component_bars(key: str, alt: str, parts: dict[str, FloatArray]) -> Markup:
    """One bar a core, cut into ``parts``: by component, ``(cores,)`` energies [J].

    Of more than :data:`SHOWN_CORES` cores only the costliest have a bar.
    """
    totals = np.sum(list(parts.values()), axis=0)
    shown = np.sort(np.argsort(-totals, kind="stable")[:SHOWN_CORES])
    factor, prefix = si_prefix(float(totals.max()))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))
        left = np.zeros(len(shown))
        for number, energies in enumerate(parts.values()):
            width = energies[shown] / factor
            axes.barh(
                places,
                width,
                left=left,
                height=0.78,
                color=SERIES[number],
                edgecolor=SURFACE,
                linewidth=0.5,
            )
            left += width
        for place, total in enumerate(left.tolist()):
            axes.annotate(
                f"{total:.3g}",
                (total, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
            )
        axes.set(
            xlim=(0, float(left.max()) * 1.16),
            ylim=(len(shown) - 0.4, -0.6),
            xlabel=f"energy per inference [{prefix}J]",
            ylabel="core",
        )
        axes.set_yticks(places, [str(core) for core in shown])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)

    return draw(key, alt, 17 * len(shown) + 60, paint)


def _short(name: str) -> str:
    """``name``, cut where it would take the room of the plot."""
    return name if len(name) <= 14 else f"{name[:13]}…"
