"""Schedulers that limit the ranks of a layer from call to call."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature

from adlrns_neuro.schedulers.policies import POLICIES, Policy, RankLimit
from mapping.errors import ConfigError

__all__ = ["POLICIES", "Policy", "RankLimit", "RankScheduler"]


class RankScheduler:
    """Limits the ranks at which a layer runs: ``layer(x, budget=..., scheduler=...)``.

    Args:
        name: ``"fixed"``, ``"linear"``, ``"energy_aware"``, ``"adaptive"`` or another name in
            ``POLICIES``; see there for what each does.
        r_min, r_max: range of the limits. The layer runs at most at its largest level up to the
            limit, and at its own smallest level if there is none.
        options: of the policy.

    Attributes:
        policy: the policy of that name.

    Raises:
        ConfigError: ``ADL-CFG-01`` on an unknown name, ``ADL-SCH-01`` on a value out of range,
            ``ADL-SCH-03`` on an option that the policy lacks.
    """

    def __init__(self, name: str, *, r_min: int, r_max: int, **options: float) -> None:
        make = POLICIES.get(name)
        known = [
            option for option in signature(make).parameters if option not in ("r_min", "r_max")
        ]
        wrong = sorted(options.keys() - known)
        if wrong:
            raise ConfigError(
                f"{name!r} has no options {wrong}",
                where="RankScheduler",
                remedy=f"its options are: {', '.join(known) or 'none'}",
                code="ADL-SCH-03",
            )
        self.policy: Policy = make(r_min=r_min, r_max=r_max, **options)

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None = None) -> RankLimit:
        """The limit of the next call.

        Args:
            energies_mj: modelled energy of a sample by rank [mJ], for each level of the layer.
            budget_mj: energy per sample [mJ].

        Raises:
            ConfigError: ``ADL-SCH-02`` when the policy needs a positive budget.
        """
        return self.policy.limit(energies_mj, budget_mj)

    def step(self) -> None:
        """One step of a schedule over time goes by; the caller decides how long a step is."""
        self.policy.step()

    def observe(self, spent_mj: float, budget_mj: float | None = None) -> None:
        """Report what a call spent per sample on average [mJ]; layers do it after each call."""
        self.policy.observe(spent_mj, budget_mj)
