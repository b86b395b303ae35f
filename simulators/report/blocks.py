"""What a section of the page is made of; the template knows how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from markupsafe import Markup

from mapping.units import si_prefix, with_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A figure: its exact value for programs and its text for people."""

    value: float
    text: str


Cell = str | Quantity
Shape = Literal["box", "solid", "dashed", "dotted", "corner", "frame"]

_LONG = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """A paragraph that nobody may overlook; ``lead`` is its point."""

    kind: ClassVar[str] = "caution"
    lead: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A part that is left out for want of data: what, and the option that adds it."""

    kind: ClassVar[str] = "hint"
    missing: str
    option: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One headline figure with its name and what to know about it."""

    name: str
    value: Cell
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Headline figures side by side."""

    kind: ClassVar[str] = "facts"
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """One entry of a legend.

    Attributes:
        name: of the thing.
        colour: CSS variable without its dashes.
        shape: how the plot draws it.
        strength: opacity of the colour.
    """

    name: str
    colour: str
    shape: Shape = "box"
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing with its title, caption and legend."""

    kind: ClassVar[str] = "picture"
    title: str
    caption: str
    svg: Markup
    legend: tuple[Legend, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; a column whose cells are quantities is set flush right.

    Attributes:
        caption: what it shows, with units that hold for all of it.
        columns: headings.
        rows: one cell per column each.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def style(self, column: int) -> Literal["number", "text", "long"]:
        """How to set ``column``: numbers flush right, and only long text may wrap."""
        cells = [row[column] for row in self.rows]
        if any(isinstance(cell, Quantity) for cell in cells):
            return "number"
        return "long" if any(len(str(cell)) > _LONG for cell in cells) else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Drawings and tables, side by side where there is room."""

    kind: ClassVar[str] = "row"
    items: tuple[Picture | Table, ...]


Block = Prose | Caution | Hint | Facts | Table | Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A numbered part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def quantity(value: float, unit: str, *, digits: int = 3) -> Quantity:
    """``value`` with an SI prefix: ``2.54 µJ``."""
    return Quantity(value=value, text=with_prefix(value, unit, digits=digits))


def number(value: float) -> Quantity:
    """A count or a mean of counts, with four digits at most after the point cut off."""
    return Quantity(value=value, text=f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}")


def percent(value: float, *, digits: int = 1) -> Quantity:
    """A share."""
    return Quantity(value=value, text=f"{value:.{digits}%}")


def interval(ends: tuple[float, float], unit: str) -> str:
    """Both ends of an interval, rounded."""
    return " … ".join(with_prefix(end, unit, digits=2) for end in ends)


def column(values: Sequence[float], unit: str) -> tuple[str, list[Quantity]]:
    """Quantities under one SI prefix, so that they compare at a glance, with the unit to print."""
    factor, prefix = si_prefix(max(values, default=0.0))
    return f"{prefix}{unit}", aligned(values, factor)


def aligned(values: Sequence[float], factor: float = 1.0) -> list[Quantity]:
    """Quantities in multiples of ``factor`` with as many decimals each."""
    largest = max(values, default=0.0) / factor
    decimals = 1 if largest >= 100 else 2 if largest >= 1 else 4
    return [Quantity(value=v, text=f"{v / factor:,.{decimals}f}") for v in values]
