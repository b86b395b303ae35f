"""The loop that moves a price until what is spent follows a budget."""

from __future__ import annotations

from dataclasses import dataclass, field

WINDUP = 7.0
"""Bound of the logarithm: prices from about 1/1000 to 1000 of where the controller starts."""


@dataclass(kw_only=True)
class PriceController:
    """Proportional-integral control of the logarithm of a price.

    With the error e = spent / budget - 1 of the last call,

        integral = clip(integral + ki * e);  ln price = clip(integral + kp * e)

    The integral of e is what was overdrawn in units of the budget, so a mean that keeps the budget
    is the only one at which the price rests. Both stay within bounds, so that a budget out of
    reach is left quickly once it changes.

    Attributes:
        kp, ki: gains per call.
        lowest, highest: bounds of the logarithms.
        log_price: ln price, 0 at the start.
    """

    kp: float
    ki: float
    lowest: float = -WINDUP
    highest: float = WINDUP
    log_price: float = field(default=0.0, init=False)
    _integral: float = field(default=0.0, init=False)

    def observe(self, spent_mj: float, budget_mj: float) -> None:
        """Correct the price after a call that spent ``spent_mj`` per sample."""
        error = spent_mj / budget_mj - 1.0
        self._integral = self._clipped(self._integral + self.ki * error)
        self.log_price = self._clipped(self._integral + self.kp * error)

    def _clipped(self, logarithm: float) -> float:
        return min(max(logarithm, self.lowest), self.highest)
