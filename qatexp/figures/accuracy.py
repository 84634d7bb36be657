"""Accuracy of every variant, as trained and as deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qatexp.figures.style import (
    COLOURS,
    INK,
    lighter,
    margins,
    new_figure,
    save,
    tidy_,
    title_,
)
from qatexp.records import Record
from qatexp.results.units import percent

_WIDTH = 0.38


def accuracy_by_variant(record: Record, path: Path) -> None:
    """Draw top-1 in PyTorch and of the deployed file side by side, one pair per variant.

    Args:
        record: a run; a variant that it does not have has no bars.
        path: the PNG file, in a folder that exists.

    Raises:
        StoreError: the file cannot be written.
    """
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    names = [name for name in COLOURS if name in record.variants]
    deployed = [COLOURS[name] for name in names]
    trained = [lighter(colour) for colour in deployed]
    figure = new_figure(max(4.5, 1.6 * len(names) + 1.2), 4.0, layout=None)
    room = margins(figure, left=0.85, right=0.15, bottom=0.75, top=0.35)
    axes = figure.subplots(gridspec_kw=room)
    for side, colours, field in ((-0.5, trained, "top1"), (0.5, deployed, "deployed_top1")):
        heights = [getattr(record.variants[name], field) for name in names]
        centres = [index + side * _WIDTH for index in range(len(names))]
        bars = axes.bar(centres, heights, width=_WIDTH * 0.96, color=colours)
        labels = [percent(height) for height in heights]
        axes.bar_label(bars, labels=labels, padding=2, fontsize=9, color=INK)
    shown = [record.variants[name] for name in names]
    bottom = _bottom([top1 for v in shown for top1 in (v.top1, v.deployed_top1)])
    tidy_(axes, grid="y")
    axes.set_xticks(range(len(names)), names, fontsize=11)
    # The room for labels above the bars may go beyond 100 %, the scale does not.
    axes.set_ylim(bottom, 100.0 + 0.08 * (100.0 - bottom))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value <= 100.0 else "")
    start = f"\n(the axis starts at {bottom:g} %)" if bottom > 0.0 else ""
    axes.set_ylabel(f"top-1, % of the test images{start}", color=INK)
    title_(axes, f"Accuracy by variant: {record.name}")
    keys = [
        Patch(color=lighter(COLOURS["fp32"]), label="in PyTorch"),
        Patch(color=COLOURS["fp32"], label="deployed file"),
    ]
    figure.legend(handles=keys, loc="lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def _bottom(accuracies: Sequence[float]) -> float:
    """Where the axis starts: at 0, or nearer to bars that are all high, so that they differ."""
    lowest = min(accuracies, default=0.0)
    if lowest <= 50.0:
        return 0.0
    span = max(100.0 - lowest, 1.0)
    # As much room below the lowest bar as above it, on a round number.
    step = 10.0 if span > 10.0 else 1.0
    return max(0.0, step * ((lowest - span) // step))
