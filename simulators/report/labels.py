"""Names beside points, placed so that they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

Place = tuple[float, float, str, str]

_PLACES: tuple[Place, ...] = (
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (6, 6, "left", "bottom"),
    (6, -6, "left", "top"),
    (-6, 6, "right", "bottom"),
    (-6, -6, "right", "top"),
    (0, 20, "center", "bottom"),
    (0, -20, "center", "top"),
)
"""Offsets from a point and alignment, the dearest first."""

_MARKER = 3.0


def place_labels(
    figure: Figure,
    axes: Axes,
    labels: Sequence[tuple[float, float, str]],
    points: Sequence[tuple[float, float]],
) -> None:
    """Write each label where it covers least.

    Args:
        figure: holds ``axes``, which are complete otherwise, their limits final.
        labels: x, y and text; points: x and y of everything to keep clear.
    """
    figure.draw_without_rendering()  # lays out, so that places on the page are known
    frame = axes.get_window_extent()
    taken = [_marker_box(axes, x, y) for x, y in points]
    for x, y, text in labels:
        label = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=10)
        label.set_in_layout(False)
        place = min(_PLACES, key=lambda p: _covered(_moved(label, p), frame, taken))
        taken.append(_moved(label, place))


def _moved(label: Annotation, place: Place) -> Bbox:
    """The box of ``label`` once it is at ``place``."""
    dx, dy, horizontal, vertical = place
    label.xyann = (dx, dy)
    label.set(horizontalalignment=horizontal, verticalalignment=vertical)
    return label.get_window_extent()


def _covered(box: Bbox, frame: Bbox, taken: Sequence[Bbox]) -> float:
    """Area of ``box`` that others take or that lies outside ``frame``."""
    outside = box.width * box.height - _shared(box, frame)
    return float(outside + sum(_shared(box, other) for other in taken))


def _marker_box(axes: Axes, x: float, y: float) -> Bbox:
    centre_x, centre_y = axes.transData.transform((x, y))
    return Bbox.from_extents(
        centre_x - _MARKER, centre_y - _MARKER, centre_x + _MARKER, centre_y + _MARKER
    )


def _shared(box: Bbox, other: Bbox) -> float:
    """Area that both cover."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return float(max(width, 0.0) * max(height, 0.0))
