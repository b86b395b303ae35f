"""The figures that descriptions of hardware are made of; each carries its status and source."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

from pydantic import Field

Status = Literal["silicon", "spice", "fit", "brief", "inferred", "assumed"]
PositiveInt = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


_STRENGTH: tuple[Status, ...] = get_args(Status)


def weakest(statuses: Iterable[Status]) -> Status:
    """The weakest of some statuses: what rests on them all has no better one."""
    return max(statuses, key=_STRENGTH.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An integer property of the chip, such as a capacity or a bit width."""

    value: int
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A physical constant; the truth is believed to lie in ``value / factor .. value * factor``."""

    value: NonNegative
    status: Status
    source: str
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0

    def times(self, factor: float) -> Constant:
        """The same constant, ``factor`` times as large."""
        return replace(self, value=self.value * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A physical quantity that depends on a number, known at some points ``(number, quantity)``.

    ``between`` says what holds between two points: those of a ``line`` through both, or the
    quantity of the lower point (``hold``). Below the first point its quantity holds; beyond the
    last one the last line goes on, or the last quantity holds. The truth is believed to lie within
    ``factor``.
    """

    value: Annotated[tuple[tuple[PositiveInt, NonNegative], ...], Field(min_length=1)]
    between: Literal["line", "hold"]
    status: Status
    source: str
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0

    def at(self, number: int) -> float:
        """The quantity at ``number``."""
        below = max(bisect_right(self.value, number, key=lambda point: point[0]) - 1, 0)
        start, quantity = self.value[below]
        if self.between == "hold" or number <= start or len(self.value) == 1:
            return quantity
        low, high = self.value[min(below, len(self.value) - 2) :][:2]
        return low[1] + (number - low[0]) / (high[0] - low[0]) * (high[1] - low[1])

    def times(self, factor: float) -> Curve:
        """The same curve with every quantity ``factor`` times as large."""
        return replace(self, value=tuple((n, quantity * factor) for n, quantity in self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A yes-or-no property of the chip."""

    value: bool
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The bit widths that a field of the chip may have."""

    value: Annotated[tuple[Width, ...], Field(min_length=1)]
    status: Status
    source: str

    def fitting(self, bits: int) -> int:
        """The least width of ``bits`` or more, or the widest where there is none."""
        return min((w for w in self.value if w >= bits), default=max(self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How many of something lie side by side: columns, then rows."""

    value: tuple[PositiveInt, PositiveInt]
    status: Status
    source: str


Direction = Literal["east", "west", "south", "north"]
STEPS: dict[Direction, tuple[int, int]] = {
    "east": (1, 0),
    "west": (-1, 0),
    "south": (0, 1),
    "north": (0, -1),
}
"""Where a link leads, as steps in (x, y), in the order in which links are numbered."""
NonNegativeInt = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is broken on the machine at hand, and so is never used.

    Attributes:
        cores: rows of (chip, x, y, core).
        links: rows of (column, row, direction) of the tile over all chips that a link leads out of.
    """

    cores: tuple[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt], ...]
    links: tuple[tuple[NonNegativeInt, NonNegativeInt, Direction], ...]
    status: Status
    source: str

    @property
    def value(self) -> str:
        """For people."""
        return f"{len(self.cores)} cores, {len(self.links)} links"


Figure = Limit | Constant | Curve | Flag | Widths | Grid | Faults
