"""A budget given to one call of a layer."""

from __future__ import annotations

import warnings

from adlrns_neuro.warnings import BudgetWarning
from mapping.errors import ConfigError


class BudgetCheck:
    """Refuses budgets that let nothing run, and warns, once, of one below the lowest level.

    Args:
        of: class of the layer, for messages.
        per: what a budget is for, such as "sample".
    """

    def __init__(self, of: str, per: str) -> None:
        self._where, self._per = f"{of}.budget", per
        self._warned = False

    def __call__(self, budget_mj: float, lowest_mj: float, rank: int) -> None:
        """Look at a budget.

        Args:
            budget_mj: the same [mJ].
            lowest_mj: what the lowest level takes [mJ].
            rank: of that level.

        Raises:
            ConfigError: ``ADL-LAY-04`` when it is not above 0.

        Warns:
            BudgetWarning: the first time that even the lowest level exceeds it.
        """
        if not budget_mj > 0.0:
            raise ConfigError(
                f"a budget of {budget_mj} mJ per {self._per} lets nothing run",
                where=self._where,
                remedy=f"give one of {lowest_mj:.3g} mJ or more",
                code="ADL-LAY-04",
            )
        if budget_mj < lowest_mj and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._where}: {budget_mj:.3g} mJ per {self._per} is below the "
                f"{lowest_mj:.3g} mJ of rank {rank}, the lowest, which runs nevertheless",
                BudgetWarning,
                stacklevel=6,
            )
