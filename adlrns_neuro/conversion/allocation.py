"""Ranks of all layers under a budget: the least loss that the budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from mapping.errors import ConfigError

TIME_LIMIT_S = 20.0
"""For one budget; what is best by then is taken. Usual models need a fraction of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """What one layer can run at.

    Attributes:
        ranks: ascending; None, last, is the full matrix.
        costs: of each.
        losses: how much the model's loss grows with this layer alone at each.
    """

    ranks: tuple[int | None, ...]
    costs: tuple[float, ...]
    losses: tuple[float, ...]


def allocate_ranks(
    layers: Sequence[RankOptions], budgets: Sequence[float], fixed_cost: float = 0.0
) -> list[list[int | None]]:
    """The ranks with the smallest sum of losses whose costs add up to no more than each budget.

    Every layer takes one of its options: a multiple-choice knapsack, solved exactly as an integer
    program (HiGHS). Of several budgets the smallest is served first. A layer that stays full there
    stays full; the others take a higher rank under each further budget, up to their highest.

    Args:
        layers: the options of each.
        budgets: in the unit of the costs, ascending.
        fixed_cost: what every choice costs besides.

    Returns:
        For each budget the rank of each layer, None where it stays full.

    Raises:
        ConfigError: ``ADL-CNV-03`` when no choice keeps to a budget.
    """
    answers: list[list[int | None]] = []
    allowed = [list(range(len(layer.ranks))) for layer in layers]
    for budget in budgets:
        picked = _choose(layers, allowed, budget, fixed_cost)
        answers.append([layer.ranks[at] for layer, at in zip(layers, picked, strict=True)])
        allowed = [_higher(layer, at) for layer, at in zip(layers, picked, strict=True)]
    return answers


def _higher(layer: RankOptions, at: int) -> list[int]:
    """What a layer may take under the next budget."""
    if layer.ranks[at] is None:
        return [at]
    factored = [index for index, rank in enumerate(layer.ranks) if rank is not None]
    return [index for index in factored if index > at] or [at]


def _choose(
    layers: Sequence[RankOptions],
    allowed: Sequence[Sequence[int]],
    budget: float,
    fixed_cost: float,
) -> list[int]:
    """An option of each layer."""
    options = [
        (layer.costs[index], layer.losses[index], at)
        for at, (layer, some) in enumerate(zip(layers, allowed, strict=True))
        for index in some
    ]
    costs, losses, numbers = np.array(options, np.float64).T
    owners = numbers.astype(np.int64)
    cheapest = (
        min(layer.costs[index] for index in some)
        for layer, some in zip(layers, allowed, strict=True)
    )
    least = fixed_cost + sum(cheapest)
    if least > budget * (1.0 - 1e-9):
        raise ConfigError(
            f"a budget of {budget:.4g} is below the {least:.4g} that the lowest ranks take",
            where="convert.budget",
            remedy=f"allow {least:.4g} or more, or budgets that lie further apart",
            code="ADL-CNV-03",
        )
    one_each = csr_array(
        (np.ones(len(owners)), (owners, np.arange(len(owners)))), shape=(len(layers), len(owners))
    )
    # Both in units of their size, so that the solver's tolerances mean the same in every unit.
    solution = milp(
        losses / max(float(losses.max()), 1e-30),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(costs[None, :] / budget, -np.inf, 1.0 - fixed_cost / budget),
        ],
        integrality=np.ones(len(owners), np.int64),
        bounds=Bounds(0, 1),
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 1e-4},
    )
    assert solution.x is not None, f"the solver found no choice: {solution.message}"
    picked = np.flatnonzero(solution.x > 0.5)
    starts = np.cumsum([0, *(len(some) for some in allowed)])
    return [allowed[at][index - starts[at]] for at, index in enumerate(picked)]
