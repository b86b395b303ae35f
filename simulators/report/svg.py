"""Matplotlib figures as inline SVG that takes its colours and its font from the page around it.

Artists are painted with placeholder colours, one per role. In the SVG they become CSS variables, so
that the same drawing suits light, dark and paper.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#010101"
MUTED = "#010102"
FAINT = "#010103"
SURFACE = "#010104"
HEAT = "#010105"
FILL = "#010106"
SERIES = tuple(f"#0102{number:02x}" for number in range(8))
"""Colours of things that differ in kind, told apart in this order."""

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    FAINT: "var(--faint)",
    SURFACE: "var(--surface)",
    HEAT: "var(--heat)",
    FILL: "var(--fill)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
WIDTH = 356.0
"""Width of a figure in its own units, about one pixel each on a phone."""

_SETTINGS: dict[RcKeyType, object] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": FAINT,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "adlrns",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 10,
}
_FONT = re.compile(r"\s*font-family:[^;]*;")
_LONG_DECIMALS = re.compile(r"(\.\d\d)\d+")
_NUMERIC = {"d", "x", "y", "transform", "width", "height"}
_REFERENCE = re.compile(r"(?<=#)[\w.-]+")


def draw(key: str, alt: str, height: float, paint: Callable[[Figure], None]) -> Markup:
    """The figure that ``paint`` fills, as an ``<svg>`` element.

    Args:
        key: unique on the page; identifiers within the drawing begin with it.
        alt: what the drawing shows, for those who do not see it.
        height: of the figure, in the units of :data:`WIDTH`.
        paint: draws on an empty figure with placeholder colours.
    """
    content = io.StringIO()
    with rc_context(_SETTINGS), warnings.catch_warnings():
        # The page's fonts draw the text; that matplotlib's own lacks a glyph does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        paint(figure)
        figure.savefig(content, format="svg", metadata={"Date": None})
    return Markup(_themed(content.getvalue(), key, alt))


def _themed(text: str, key: str, alt: str) -> str:
    """``text`` without prologue, namespaces, fonts and idle identifiers, in the page's colours."""
    root = ElementTree.fromstring(text)
    _strip(root)
    used = {
        name
        for element in root.iter()
        for attribute, value in element.attrib.items()
        if attribute != "style" and "#" in value
        for name in _REFERENCE.findall(value)
    }
    for element in root.iter():
        _tidy(element, key, used)
    view = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"class": "plot", "viewBox": view, "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _strip(element: ElementTree.Element) -> None:
    """Drop what HTML does not need, here and below."""
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {name.rpartition("}")[2]: v for name, v in element.attrib.items()}
    for child in list(element):
        _strip(child)
        empty = child.tag in {"g", "defs"} and not len(child)
        if child.tag in {"metadata", "style"} or empty:
            element.remove(child)
    if element.tag != "text":
        element.text = None
    element.tail = None


def _tidy(element: ElementTree.Element, key: str, used: set[str]) -> None:
    attributes = element.attrib
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    for name, value in attributes.items():
        if name == "style":
            value = _FONT.sub("", value)
            for placeholder, variable in _VARIABLES.items():
                value = value.replace(placeholder, variable)
        elif name == "id":
            value = f"{key}-{value}"
        elif "#" in value:
            value = _REFERENCE.sub(lambda found: f"{key}-{found[0]}", value)
        if name in _NUMERIC:
            value = _LONG_DECIMALS.sub(r"\1", value).replace("\n", "")
        attributes[name] = value
