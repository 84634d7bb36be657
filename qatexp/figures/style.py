"""The look that all figures share, without pyplot: nothing global, and no display needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qatexp.store.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#2b303b", "#c9ced6"
COLOURS = {"fp32": "#5b6472", "control": "#9a8bb5", "ptq": "#d9822b", "qat": "#1f6fb2"}
"""One colour per variant, in every figure."""
CATEGORIES = (
    "#1f6fb2",
    "#2e9e6b",
    "#c0504d",
    "#8064a2",
    "#d9822b",
    "#17a2b8",
    "#7f6a4e",
    "#d46fa6",
)
"""Colours of a setting's values; they stay apart for colour-blind readers by lightness too."""
_DPI = 150
_LIGHT = 0.45


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """An empty figure, in inches, that lays itself out unless `layout` is None."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")


def margins(
    figure: Figure, *, left: float, right: float, bottom: float, top: float
) -> dict[str, float]:
    """Room for titles and labels in inches, for a `gridspec_kw`.

    Their sizes are known, and a layout that measures them draws everything twice.
    """
    width, height = figure.get_size_inches()
    return {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": bottom / height,
        "top": 1 - top / height,
    }


def tidy_(axes: Axes, *, grid: Literal["x", "y", "both"] = "both") -> None:
    """Take the box away and put a faint grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)


def title_(axes: Axes, text: str) -> None:
    """Write a panel's title above its left edge."""
    # With a place of its own a title is not laid out by what the ticks take, which costs a fifth.
    axes.set_title(text, loc="left", y=1.0, fontsize=10, fontweight="bold", color=INK)


def lighter(colour: str) -> tuple[float, float, float]:
    """The colour mixed with white, and opaque, so that the grid does not shine through."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1.0 - (1.0 - part) * _LIGHT for part in to_rgb(colour))
    return red, green, blue


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file atomically.

    Raises:
        StoreError: the folder cannot be written to.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
