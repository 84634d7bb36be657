"""Training curves: loss and validation accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.figures.style import COLOURS, INK, margins, new_figure, save, tidy_, title_
from qatexp.results.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, float]]
_ROWS = {"loss": "training loss", "val_top1": "validation top-1, %"}


def training_curves(history: Mapping[str, History], path: Path) -> None:
    """Draw the loss, and validation top-1 below it, with one column per training.

    Every panel has its own scale: fine-tuning moves far less than training from scratch.

    Args:
        history: by training (fp32, control, qat), one mapping per epoch with ``epoch``, ``loss``
            and, where there is a validation split, ``val_top1`` in percent. Trainings without
            epochs are left out.
        path: the PNG file, in a folder that exists.

    Raises:
        StoreError: the file cannot be written.
    """
    trainings = {name: rows for name, rows in history.items() if rows}
    metrics = [key for key in _ROWS if any(key in row for r in trainings.values() for row in r)]
    if not metrics:
        return _say_that_nothing_was_trained(path)
    figure = new_figure(3.6 * len(trainings) + 1.0, 2.3 * len(metrics) + 0.6, layout=None)
    room = margins(figure, left=0.8, right=0.45, bottom=0.5, top=0.3) | {"wspace": 0.34}
    grid = figure.subplots(
        len(metrics), len(trainings), squeeze=False, sharex="col", gridspec_kw=room
    )
    for column, (name, rows) in enumerate(trainings.items()):
        title_(grid[0][column], f"{name}: {counted(len(rows), 'epoch')}")
        grid[-1][column].set_xlabel("epoch", color=INK)
        for row, key in enumerate(metrics):
            _draw_curve_(grid[row][column], rows, key, COLOURS.get(name, INK))
            if column == 0:
                grid[row][column].set_ylabel(_ROWS[key], color=INK)
    return save(figure, path)


def _draw_curve_(axes: Axes, rows: History, key: str, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    tidy_(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    points = [(row["epoch"], row[key]) for row in rows if key in row]
    if not points:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, color=INK)
        return
    epochs, values = zip(*points, strict=True)
    axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3.5)
    axes.margins(x=0.06, y=0.15)
    if key == "val_top1":
        axes.set_ylim(top=min(axes.get_ylim()[1], 100.0))
    axes.annotate(
        f"{values[-1]:.2f}" if key == "val_top1" else f"{values[-1]:#.3g}",
        (epochs[-1], values[-1]),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=INK,
    )


def _say_that_nothing_was_trained(path: Path) -> None:
    figure = new_figure(4.6, 1.6)
    figure.text(0.5, 0.5, "Nothing was trained: 0 epochs", ha="center", va="center", color=INK)
    save(figure, path)
