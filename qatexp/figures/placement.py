"""Labels beside points, where they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qatexp.figures.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox
    from numpy.typing import NDArray

Anchor = tuple[float, float]
_SIDES = ((1, 0), (1, 1), (1, -1), (-1, 1), (-1, 0), (-1, -1), (0, 1), (0, -1))
_GAPS = (7.0, 18.0, 32.0, 48.0, 64.0)
_PLACES = [(dx * gap, dy * gap) for gap in _GAPS for dx, dy in _SIDES]
"""Offsets from a point, in typographic points, the best ones first."""
_NEAR = 12.0
"""Pixels around a label in which another point would seem to be its own."""
_MARKER = 5.0
"""Half the side of the square that a marker covers, in typographic points."""


def label_points_(
    figure: Figure,
    axes: Axes,
    labels: Sequence[tuple[Anchor, str]],
    *,
    points: Sequence[Anchor],
    lines: Sequence[tuple[Anchor, Anchor]],
) -> None:
    """Write each label in the first free place around its point, or nowhere if there is none.

    Args:
        figure: what the panel is part of.
        axes: a panel whose limits are final.
        labels: the points in data coordinates, the most important ones first.
        points: what may not be covered.
        lines: horizontal and vertical lines that may not be covered either, by their ends.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    half = _MARKER * figure.dpi / 72.0
    occupied: list[Bbox] = []
    for ends in [*((point, point) for point in points), *lines]:
        pixels = axes.transData.transform(ends)
        grow = half if ends[0] == ends[1] else 1.0
        occupied.append(Bbox([pixels.min(axis=0) - grow, pixels.max(axis=0) + grow]))
    inside = axes.get_window_extent()
    markers = occupied[: len(points)]
    for anchor, text in labels:
        centre = axes.transData.transform(anchor)
        others = [box for box in markers if abs(_centre(box) - centre).max() > 1.0]
        box = _place_(axes, anchor, text, occupied, others, inside)
        if box is not None:
            occupied.append(box)


def _centre(box: Bbox) -> NDArray[np.float64]:
    return np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2.0


def _place_(  # noqa: PLR0917  all of one kind, and all needed
    axes: Axes,
    anchor: Anchor,
    text: str,
    occupied: Sequence[Bbox],
    others: Sequence[Bbox],
    inside: Bbox,
) -> Bbox | None:
    """Write one label and return the room it takes; None, and nothing written, without any.

    Without a line to its point it may not be near another one either, whose it would seem to be.
    """
    for dx, dy in _PLACES:
        annotation = _annotate(axes, anchor, text, dx, dy)
        box = annotation.get_window_extent()
        has_line = max(abs(dx), abs(dy)) > _GAPS[0]
        if not has_line and any(box.padded(_NEAR).overlaps(other) for other in others):
            annotation.remove()
            continue
        in_axes = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0
        if in_axes and box.y1 <= inside.y1 and not any(box.overlaps(other) for other in occupied):
            if has_line:
                _lead_(axes, anchor, dx, dy)
            return box
        annotation.remove()
    return None


def _annotate(axes: Axes, anchor: Anchor, text: str, dx: float, dy: float) -> Annotation:
    from matplotlib.patheffects import withStroke

    annotation = axes.annotate(
        text,
        anchor,
        xytext=(dx, dy),
        textcoords="offset points",
        ha="center" if dx == 0 else "left" if dx > 0 else "right",
        va="center" if dy == 0 else "bottom" if dy > 0 else "top",
        fontsize=8,
        color=INK,
        zorder=6,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    annotation.set_in_layout(False)
    return annotation


def _lead_(axes: Axes, anchor: Anchor, dx: float, dy: float) -> None:
    """Draw a thin line from a point to a label that is not right beside it."""
    style = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0.0, "shrinkB": 0.0}
    line = axes.annotate(
        "", anchor, xytext=(dx, dy), textcoords="offset points", arrowprops=style, zorder=3
    )
    line.set_in_layout(False)
