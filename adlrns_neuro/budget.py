"""One price for the energy of all layers, and the loop that keeps a budget with it.

A level of any layer is worth its energy where it gains more than the price λ [gain per mJ] times
that energy. With one λ for all layers no energy could gain more in another layer, as far as the
gates' predictions and their additivity go (the Lagrangian condition; Everett, 1963). λ is all
that a budget has to set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adlrns_neuro.adaptive import AdaptiveModel
from adlrns_neuro.layers.ranked import RankedModule
from adlrns_neuro.ranks import ranked_parts
from adlrns_neuro.schedulers.control import PriceController
from mapping.errors import ConfigError

GRID = np.logspace(-5.0, 2.0, 29)
"""Prices at which :meth:`BudgetManager.calibrate` measures, in gain per energy of all layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetReport:
    """What was spent since the manager was made.

    Attributes:
        samples: that were run.
        spent_mj: in all [mJ].
        left_mj: the budgets of all samples less what was spent, negative when overdrawn [mJ].
        price_per_mj: the price of the next call.
        by_layer_mj: spent by each layer, or by the model as a whole with one gate for all [mJ].
    """

    samples: int
    spent_mj: float
    left_mj: float
    price_per_mj: float
    by_layer_mj: Mapping[str, float]


class BudgetManager:
    """Keeps the mean energy per sample of a model at a budget that may change at any time.

    Listens to every call of the model, and sets the price of its gates before the next one. Use
    it as a context manager, or call :meth:`close`, to leave the model as it was.

    Args:
        model: an :class:`~adlrns_neuro.adaptive.AdaptiveModel`, or any module with
            :class:`~adlrns_neuro.layers.ranked.RankedModule` parts whose own gates decide.
        budget_mj: modelled energy per sample to keep on average [mJ].
        kp, ki: gains of the controller, per call.

    Attributes:
        budget_mj: may be set at any time.

    Raises:
        ConfigError: ``ADL-BUD-04`` on a budget that is not above 0, ``ADL-RNK-01`` when no layer
            has a rank.
    """

    def __init__(
        self, model: nn.Module, budget_mj: float, *, kp: float = 0.02, ki: float = 0.05
    ) -> None:
        self._model = model
        self._priced: dict[str, AdaptiveModel | RankedModule] = (
            {"model": model} if isinstance(model, AdaptiveModel) else {**ranked_parts(model)}
        )
        self._scale_mj = sum(max(part.energies_mj) for part in self._priced.values())
        self._controller = PriceController(kp=kp, ki=ki)
        self._known_mj: NDArray[np.float64] | None = None
        self._samples, self._granted_mj = 0, 0.0
        self._spent_mj = dict.fromkeys(self._priced, 0.0)
        self.budget_mj = budget_mj
        self._handle = model.register_forward_hook(self._after)

    @property
    def budget_mj(self) -> float:
        """Energy per sample to keep on average [mJ]."""
        return self._budget_mj

    @budget_mj.setter
    def budget_mj(self, budget_mj: float) -> None:
        if not (math.isfinite(budget_mj) and budget_mj > 0.0):
            raise ConfigError(
                f"a budget of {budget_mj} mJ per sample lets nothing run",
                where="BudgetManager.budget_mj",
                remedy=f"give up to {self._scale_mj:.3g} mJ, what all layers take at full rank",
                code="ADL-BUD-04",
            )
        self._budget_mj = budget_mj
        self._set_price(self.price_per_mj)

    @property
    def price_per_mj(self) -> float:
        """Gain that a millijoule must bring in the next call."""
        return math.exp(self._start() + self._controller.log_price) / self._scale_mj

    def calibrate(self, inputs: Tensor) -> None:
        """Learn from held-out samples what each price costs, so that a new budget is met at once.

        Without it the controller has to find the price of every new budget.

        Args:
            inputs: of the model, shape (n, ...).
        """
        spent = []
        self._handle.remove()
        try:
            with torch.no_grad():
                for price in GRID:
                    self._set_price(float(price) / self._scale_mj)
                    self._model(inputs)
                    spent.append(sum(part.spent_mj for part in self._priced.values()))
            self._known_mj = np.minimum.accumulate(spent)
        finally:
            self._set_price(self.price_per_mj)
            self._handle = self._model.register_forward_hook(self._after)

    def report(self) -> BudgetReport:
        """What was spent, and what is left."""
        spent = sum(self._spent_mj.values())
        return BudgetReport(
            samples=self._samples,
            spent_mj=spent,
            left_mj=self._granted_mj - spent,
            price_per_mj=self.price_per_mj,
            by_layer_mj=dict(self._spent_mj),
        )

    def close(self) -> None:
        """Stop listening; the gates decide at their own prices again."""
        self._handle.remove()
        self._set_price(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> float:
        """Logarithm of the price that kept the budget in calibration; 0 without."""
        if self._known_mj is None:
            return 0.0
        return float(np.interp(self._budget_mj, self._known_mj[::-1], np.log(GRID[::-1])))

    def _set_price(self, price_per_mj: float | None) -> None:
        for part in self._priced.values():
            part.price_per_mj = price_per_mj

    def _after(self, model: nn.Module, arguments: tuple[Tensor, ...], outputs: object) -> None:
        """Account for a call, and correct the price."""
        samples = len(arguments[0])
        if samples == 0:
            return
        spent = {name: part.spent_mj for name, part in self._priced.items()}
        for name, energy in spent.items():
            self._spent_mj[name] += samples * energy
        self._samples += samples
        self._granted_mj += samples * self._budget_mj
        if self._known_mj is not None:  # beyond the grid there is nothing to gain
            low, high = (float(np.log(GRID[end])) - self._start() for end in (0, -1))
            self._controller.lowest, self._controller.highest = min(low, 0.0), max(high, 0.0)
        self._controller.observe(sum(spent.values()), self._budget_mj)
        self._set_price(self.price_per_mj)
