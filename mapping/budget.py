"""The energy budget of a gated program: which price of energy keeps to it.

A program holds its gates' predicted gains and costs, and the price that weighs them is set at run
time. The compiler runs the integer network on calibration data at several prices and stores what
an inference then costs; a budget picks the lowest price that has kept to it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, sqrt

from mapping.artifact.schema import Artifact, PricedEnergy
from mapping.cost import dynamic_energy_j
from mapping.errors import ConfigError
from mapping.ir.quantized import IntegerGate
from mapping.ir.traffic import Calibration, TrafficProfile

PRICES = 20
"""Prices that the compiler tries: so many runs of the integer network."""
_SEARCH = 40


def priced_energies(artifact: Artifact, calibration: Calibration) -> tuple[PricedEnergy, ...]:
    """Mean dynamic energy per sample at prices from 0 to where the gates stay off.

    Prices are added where neighbours differ most in energy, so the table is even in energy. On
    targets that skip idle cores the energies are upper bounds: mean activity does not tell which
    steps of a core were idle.

    Args:
        artifact: the compiled program.
        calibration: input that stands for what the deployed network will see.

    Returns:
        Rising prices; nothing if the program has no gates.
    """
    if not any(isinstance(p, IntegerGate) for p in artifact.partitioned.populations):
        return ()

    def energy_j(price: float) -> float:
        profile = TrafficProfile.measured(artifact.network, calibration, price=price)
        counts = profile.expected_counts(
            artifact.partitioned, artifact.placement, artifact.routing, artifact.chip
        )
        components = dynamic_energy_j(counts, artifact.chip).values()
        return profile.steps * sum(float(energy.sum()) for energy in components)

    table = _bracket(energy_j)
    while len(table) < PRICES:
        one, other = max(
            pairwise(sorted(table)), key=lambda ends: abs(table[ends[0]] - table[ends[1]])
        )
        middle = sqrt(one * other) if one else other / 16
        if not one < middle < other:
            break
        table[middle] = energy_j(middle)
    return tuple(PricedEnergy(price=price, energy_j=table[price]) for price in sorted(table))


def _bracket(energy_j: Callable[[float], float]) -> dict[float, float]:
    """Energy at price 0 and at about the lowest price from which on it no longer falls."""
    table = {0.0: energy_j(0.0)}
    floor, high = energy_j(1e30), 1.0
    for _ in range(_SEARCH):
        if energy_j(high) == floor:
            break
        high *= 2
    for _ in range(_SEARCH):
        if energy_j(high / 2) != floor or floor == table[0.0]:
            break
        high /= 2
    return table | {high: floor}


def check_price(price: float, *, where: str) -> None:
    """Refuse what is no price.

    Raises:
        ConfigError: ADL-BUD-03, ``price`` is negative or not finite.
    """
    if not 0.0 <= price < inf:
        raise ConfigError(
            f"a price of {price} is negative or not finite",
            where=where,
            remedy="give 0 or more, best what price_for finds for a budget",
            code="ADL-BUD-03",
        )


def price_for(artifact: Artifact, budget_j: float) -> float:
    """The lowest price whose mean dynamic energy on the calibration data is within ``budget_j``.

    Args:
        artifact: the compiled program.
        budget_j: dynamic energy per sample, used cores' static energy excluded [J].

    Raises:
        ConfigError: ADL-BUD-01, the program has no gates or was compiled without calibration data;
            ADL-BUD-02, not even its lowest level keeps to the budget.
    """
    gated = any(isinstance(p, IntegerGate) for p in artifact.partitioned.populations)
    if not artifact.budgets:
        raise ConfigError(
            "was compiled without calibration data, so no price is known for a budget"
            if gated
            else "has no gates, so its energy cannot be budgeted",
            where=f"program {artifact.partitioned.name}",
            remedy="compile it again with --calibration"
            if gated
            else "compile a network whose low-rank layers have gates, or drop the budget",
            code="ADL-BUD-01",
        )
    within = [entry.price for entry in artifact.budgets if entry.energy_j <= budget_j]
    if not within:
        least = min(entry.energy_j for entry in artifact.budgets)
        most = max(entry.energy_j for entry in artifact.budgets)
        raise ConfigError(
            f"{budget_j * 1e3:.4g} mJ of dynamic energy per sample are fewer than its lowest rank "
            "takes",
            where=f"program {artifact.partitioned.name}",
            remedy=f"allow {least * 1e3:.4g} to {most * 1e3:.4g} mJ, or lower the levels",
            code="ADL-BUD-02",
        )
    return min(within)
