"""Which levels each layer of a model gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise

import numpy as np

from adlrns_neuro.conversion.allocation import RankOptions, allocate_ranks
from adlrns_neuro.conversion.candidates import Candidate
from adlrns_neuro.conversion.costs import CostUnit, layer_cost
from adlrns_neuro.conversion.statistics import InputStatistics
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError

Levels = dict[Candidate, tuple[int, ...]]
"""By layer, its levels, ascending; none where it stays full."""
MOST_OPTIONS = 64
"""Ranks of one layer among which a budget's allocation chooses."""


def check_ways(**ways: object) -> None:
    """Refuse ranks that are given in no way or in several.

    Raises:
        ConfigError: ``ADL-CNV-01``.
    """
    given = sorted(name for name, value in ways.items() if value is not None)
    if given != ["r_max", "r_min"] and (len(given) != 1 or given[0] in ("r_min", "r_max")):
        raise ConfigError(
            f"{' and '.join(given) or 'nothing'} given, which is not one description of the ranks",
            where="convert",
            remedy="pass levels, r_min and r_max, ranks, budget or share, and no other of them",
            code="ADL-CNV-01",
        )


def checked_budgets(budget: float | Sequence[float]) -> tuple[float, ...]:
    """One or several budgets, in ascending order.

    Raises:
        ConfigError: ``ADL-CNV-01`` unless they are positive and ascending.
    """
    found = tuple(budget) if isinstance(budget, Sequence) else (budget,)
    if not found or not found[0] > 0 or not all(low < high for low, high in pairwise(found)):
        raise ConfigError(
            f"{found} are not ascending budgets above 0",
            where="convert.budget",
            remedy="list each budget once, the smallest first",
            code="ADL-CNV-01",
        )
    return found


def paying_levels(usable: Sequence[Candidate], levels: Sequence[int]) -> Levels:
    """The same levels everywhere, less those that do not pay."""
    return {
        one: tuple(rank for rank in levels if rank <= one.highest_rank_that_pays) for one in usable
    }


def named_levels(usable: Sequence[Candidate], ranks: Mapping[str, int | Sequence[int]]) -> Levels:
    """The levels that a caller names; the other layers stay full.

    Raises:
        ConfigError: ``ADL-CNV-02`` when a name is none of a layer that can be replaced.
    """
    by_name = {name: one for one in usable for name in one.names}
    found: Levels = dict.fromkeys(usable, ())
    for name, given in ranks.items():
        if name not in by_name:
            near = get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"{name!r} is none of a layer that can be replaced",
                where="convert.ranks",
                remedy=f"{hint}choose among: {', '.join(by_name)}",
                code="ADL-CNV-02",
            )
        found[by_name[name]] = (given,) if isinstance(given, int) else tuple(given)
    return found


def affordable_levels(
    usable: Sequence[Candidate],
    statistics: Mapping[Candidate, InputStatistics],
    losses: Sequence[Mapping[int, float]],
    budgets: Sequence[float],
    fixed_cost: float,
    unit: CostUnit,
    perf_estimator: PerfEstimator | None,
) -> Levels:
    """The levels with the least loss that keep to budgets.

    Args:
        usable: the layers that can be replaced.
        statistics: of the inputs of each.
        losses: by layer and rank, see
            :func:`~adlrns_neuro.conversion.sensitivity.loss_increases`.
        budgets: what a sample may cost at each level, in ``unit``.
        fixed_cost: what all other layers cost.
        unit, perf_estimator: see :func:`~adlrns_neuro.conversion.costs.layer_cost`.

    Raises:
        ConfigError: ``ADL-CNV-03``.
    """
    options = []
    for one, measured in zip(usable, losses, strict=True):
        highest = one.highest_rank_that_pays
        spread = np.linspace(1, highest, min(highest, MOST_OPTIONS)).round().astype(int)
        ranks = tuple(sorted({*spread.tolist(), *measured}))
        grown = np.interp(ranks, list(measured), list(measured.values()))
        options.append(
            RankOptions(
                ranks=(*ranks, None),
                costs=tuple(
                    layer_cost(one, statistics[one], rank, unit, perf_estimator)
                    for rank in (*ranks, None)
                ),
                losses=(*grown.tolist(), 0.0),
            )
        )
    answers = allocate_ranks(options, budgets, fixed_cost)
    return {
        one: tuple(sorted({rank for answer in answers if (rank := answer[at]) is not None}))
        for at, one in enumerate(usable)
    }
