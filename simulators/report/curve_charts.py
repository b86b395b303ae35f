"""Charts of an accuracy-energy curve: accuracy, ranks and dark cores at each budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from mapping.cost import FloatArray
from mapping.units import si_prefix
from simulators.report.chip_maps import draw_scale, shade, squares
from simulators.report.labels import place_labels
from simulators.report.svg import FILL, SERIES, SURFACE, WIDTH, draw

_MARKERS = "sD^vPX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point of the curve: energy [J], accuracy, and for a baseline its name and kind."""

    energy_j: float
    accuracy: float
    name: str = ""
    kind: str = ""


def accuracy_curve(
    key: str, alt: str, curve: Sequence[Mark], baselines: Sequence[Mark], *, quantity: str
) -> Markup:
    """Accuracy against energy: a line through the budgets, the baselines by name.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        curve: the adaptive program, by budget; baselines: the others.
        quantity: what the energy is.
    """
    everything = [*curve, *baselines]
    factor, prefix = si_prefix(max(mark.energy_j for mark in everything))
    kinds = list(dict.fromkeys(mark.kind for mark in baselines))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            [mark.energy_j / factor for mark in curve],
            [100 * mark.accuracy for mark in curve],
            color=SERIES[0],
            linewidth=2,
            marker="o",
            markersize=6,
            markeredgecolor=SURFACE,
        )
        for mark in baselines:
            number = kinds.index(mark.kind)
            axes.plot(
                mark.energy_j / factor,
                100 * mark.accuracy,
                linestyle="none",
                color=SERIES[1 + number % (len(SERIES) - 1)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=7,
                markeredgecolor=SURFACE,
            )
        axes.set(xlabel=f"{quantity} per inference [{prefix}J]", ylabel="accuracy [%]")
        axes.set_xlim(0, 1.1 * max(mark.energy_j for mark in everything) / factor)
        axes.margins(y=0.12)
        axes.grid()
        axes.set_axisbelow(True)
        place_labels(
            figure,
            axes,
            [(m.energy_j / factor, 100 * m.accuracy, m.name) for m in baselines],
            [(m.energy_j / factor, 100 * m.accuracy) for m in baselines]
            + _along([(m.energy_j / factor, 100 * m.accuracy) for m in curve]),
        )

    return draw(key, alt, 280, paint)


def rank_bars(
    key: str, alt: str, budgets: Sequence[str], shares: dict[int, list[float]], *, unit: str
) -> Markup:
    """One bar a budget, cut by the share of each rank, the higher ranks stronger.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        budgets: from top to bottom; unit: theirs.
        shares: by rising rank, one share a budget.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(budgets))
        left = np.zeros(len(budgets))
        for number, (rank, share) in enumerate(shares.items()):
            width = 100 * np.array(share)
            axes.barh(
                places,
                width,
                left=left,
                height=0.78,
                color=shade(rank_strength(number, len(shares)), FILL),
                edgecolor=SURFACE,
                linewidth=0.8,
            )
            for place in places[width >= 8]:
                axes.text(
                    left[place] + width[place] / 2,
                    place,
                    str(rank),
                    ha="center",
                    va="center",
                    fontsize=10,
                )
            left += width
        axes.set(
            xlim=(0, 100),
            ylim=(len(budgets) - 0.4, -0.6),
            xlabel="share of samples and steps [%]",
            ylabel=f"budget [{unit}]",
        )
        axes.set_yticks(places, list(budgets))
        axes.tick_params(axis="y", length=0)

    return draw(key, alt, max(130, 21 * len(budgets) + 55), paint)


def rank_strength(number: int, ranks: int) -> float:
    """How strong the colour of the ``number``-th of so many ranks is, 0 to 1."""
    return (number + 1) / ranks


def core_heat(
    key: str,
    alt: str,
    budgets: Sequence[str],
    values: FloatArray,
    *,
    largest: float,
    colour: str,
    unit: str,
    budget_unit: str,
) -> Markup:
    """One cell for each core and budget, shaded by its value.

    Args:
        key, alt: as for :func:`simulators.report.svg.draw`.
        budgets: from left to right; budget_unit: theirs.
        values: ``(cores, budgets)``.
        largest: end of the scale; colour: there; unit: of the values, for the scale.
    """
    cores = values.shape[0]
    row = min(16.0, max(4.0, 480 / cores))

    def paint(figure: Figure) -> None:
        axes, scale = figure.subplots(2, 1, height_ratios=(row * cores, 9))
        squares(
            axes,
            [(place - 0.5, core - 0.5) for core, place in np.ndindex(values.shape)],
            1.0,
            facecolors=[shade(value / largest, colour) for value in values.ravel().tolist()],
            edgecolors=SURFACE,
            linewidths=row / 20,
        )
        axes.set(
            xlim=(-0.5, len(budgets) - 0.5),
            ylim=(cores - 0.5, -0.5),
            xlabel=f"budget [{budget_unit}], falling",
            ylabel="core",
        )
        columns = _spread(len(budgets), int((WIDTH - 40) / (6.2 * max(map(len, budgets)) + 6)))
        axes.set_xticks(columns, [budgets[place] for place in columns])
        axes.set_yticks(_spread(cores, int(row * cores / 12)))
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        draw_scale(scale, largest, colour, unit)

    return draw(key, alt, row * cores + 110, paint)


def _along(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on the line through ``corners``, close enough to keep names off it."""
    shares = np.linspace(0, 1, 12, endpoint=False)
    between = [
        (float(x0 + share * (x1 - x0)), float(y0 + share * (y1 - y0)))
        for (x0, y0), (x1, y1) in pairwise(corners)
        for share in shares
    ]
    return [*between, *corners[-1:]]


def _spread(count: int, most: int) -> list[int]:
    """Evenly spaced numbers below ``count``, ``most`` of them at most."""
    return list(range(0, count, -(-count // max(1, most))))
