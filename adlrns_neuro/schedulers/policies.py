"""The policies behind :class:`adlrns_neuro.schedulers.RankScheduler`, one class each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from adlrns_neuro.schedulers.control import PriceController
from mapping.errors import ConfigError
from mapping.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLimit:
    """What a scheduler asks of a layer for one call.

    Attributes:
        rank: no sample may run above it.
        price: of the layer's gate; the gate's own if None.
    """

    rank: int
    price: float | None = None


class Policy(Protocol):
    """How a scheduler limits ranks; made with ``r_min``, ``r_max`` and options of its own."""

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None) -> RankLimit:
        """The limit of the next call.

        Args:
            energies_mj: modelled energy of a sample by rank, for each level of the layer.
            budget_mj: energy per sample, if the caller gave one.
        """
        ...

    def step(self) -> None:
        """Time goes on by one step of the schedule."""
        ...

    def observe(self, spent_mj: float, budget_mj: float | None) -> None:
        """Learn what the last call spent per sample under which budget."""
        ...


POLICIES: Registry[Callable[..., Policy]] = Registry("rank scheduler", "adlrns_neuro.schedulers")


@dataclass(kw_only=True)
class _Range:
    """What all policies share: a rank range, and no reaction to steps and observations."""

    r_min: int
    r_max: int

    def __post_init__(self) -> None:
        if not 1 <= self.r_min <= self.r_max:
            raise ConfigError(
                f"r_min {self.r_min} and r_max {self.r_max} are no range of ranks",
                where="RankScheduler",
                remedy="choose 1 ≤ r_min ≤ r_max",
                code="ADL-SCH-01",
            )

    def step(self) -> None:
        pass

    def observe(self, spent_mj: float, budget_mj: float | None) -> None:
        pass


@POLICIES.register("fixed")
@dataclass(kw_only=True)
class Fixed(_Range):
    """Always the same limit: ``rank``, or ``r_max`` if it is None."""

    rank: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank is not None and not self.r_min <= self.rank <= self.r_max:
            raise ConfigError(
                f"rank {self.rank} is not between r_min {self.r_min} and r_max {self.r_max}",
                where="RankScheduler.rank",
                remedy="choose a rank of that range",
                code="ADL-SCH-01",
            )

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None) -> RankLimit:
        """The rank; a budget changes nothing."""
        return RankLimit(rank=self.r_max if self.rank is None else self.rank)


@POLICIES.register("linear")
@dataclass(kw_only=True)
class Linear(_Range):
    """From ``r_max`` down to ``r_min`` in ``steps`` equal steps, then ``r_min``.

    A step is a call of :meth:`step`, an epoch for instance.
    """

    steps: int = 100
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ConfigError(
                f"{self.steps} steps are no ramp",
                where="RankScheduler.steps",
                remedy="choose 1 step or more",
                code="ADL-SCH-01",
            )

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None) -> RankLimit:
        """The ramp's present rank, rounded to the nearest; a budget changes nothing."""
        share = min(self._done / self.steps, 1.0)
        return RankLimit(rank=round(self.r_max - share * (self.r_max - self.r_min)))

    def step(self) -> None:
        """One step down the ramp."""
        self._done += 1


@POLICIES.register("energy_aware")
@dataclass(kw_only=True)
class EnergyAware(_Range):
    """The largest level of ``r_min`` to ``r_max`` whose modelled energy keeps the budget."""

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None) -> RankLimit:
        """That level, or the smallest in the range if none keeps the budget.

        Raises:
            ConfigError: ``ADL-SCH-02`` without a budget.
        """
        budget_mj = _needed(budget_mj, "energy_aware")
        affordable = [
            rank
            for rank, energy in energies_mj.items()
            if self.r_min <= rank <= self.r_max and energy <= budget_mj
        ]
        return RankLimit(rank=max(affordable, default=self.r_min))


@POLICIES.register("adaptive")
@dataclass(kw_only=True)
class Adaptive(_Range):
    """Moves the gate's price until the mean energy spent follows the budget, call by call.

    By a :class:`~adlrns_neuro.schedulers.control.PriceController`.

    Attributes:
        kp, ki: its gains per call. With batches of tens of samples the defaults settle in about
            ten.
    """

    kp: float = 0.2
    ki: float = 0.3
    _controller: PriceController = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._controller = PriceController(kp=self.kp, ki=self.ki)

    def limit(self, energies_mj: Mapping[int, float], budget_mj: float | None) -> RankLimit:
        """``r_max``, at the present price.

        Raises:
            ConfigError: ``ADL-SCH-02`` without a budget.
        """
        _needed(budget_mj, "adaptive")
        return RankLimit(rank=self.r_max, price=math.exp(self._controller.log_price))

    def observe(self, spent_mj: float, budget_mj: float | None) -> None:
        """Correct the price."""
        self._controller.observe(spent_mj, _needed(budget_mj, "adaptive"))


def _needed(budget_mj: float | None, policy: str) -> float:
    if budget_mj is None or not budget_mj > 0:
        raise ConfigError(
            f"the {policy!r} scheduler has a budget of {budget_mj}",
            where="RankScheduler.limit",
            remedy="pass a positive energy per sample, layer(x, budget=..., scheduler=...) [mJ]",
            code="ADL-SCH-02",
        )
    return budget_mj
