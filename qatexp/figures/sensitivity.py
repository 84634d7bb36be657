"""What quantizing one layer alone costs, layer by layer in order of execution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.figures.style import CATEGORIES, INK, new_figure, save, tidy_, title_
from qatexp.records.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = {"top1_drop": "top-1 drop, points", "sqnr_db": "SQNR of the logits, dB"}
_COLUMNS = {"weight": "weight alone", "activation": "input alone"}


def sensitivity_by_layer(rows: Sequence[Sensitivity], path: Path) -> None:
    """Draw top-1 drop and SQNR by layer, one line for each of the bits.

    Args:
        rows: of weights, of activations, or of both: a column each.
        path: the PNG file, in a folder that exists.

    Raises:
        StoreError: the file cannot be written.
    """
    layers = list(dict.fromkeys(row.layer for row in rows))
    tensors = [tensor for tensor in _COLUMNS if any(row.tensor == tensor for row in rows)]
    figure = new_figure(len(tensors) * (1.6 + 0.22 * len(layers)) + 0.8, 6.0)
    grid = figure.subplots(len(_ROWS), len(tensors), squeeze=False, sharex="all", sharey="row")
    for column, tensor in enumerate(tensors):
        members = [row for row in rows if row.tensor == tensor]
        for axes, metric in zip(grid[:, column], _ROWS, strict=True):
            _draw_(axes, members, metric, layers)
        title_(grid[0][column], _COLUMNS[tensor])
        grid[-1][column].set_xticks(range(len(layers)), layers, rotation=90, fontsize=8)
    for axes, label in zip(grid[:, 0], _ROWS.values(), strict=True):
        axes.set_ylabel(label, color=INK)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9
    )
    save(figure, path)


def _draw_(axes: Axes, rows: Sequence[Sensitivity], metric: str, layers: Sequence[str]) -> None:
    tidy_(axes)
    for index, bits in enumerate(sorted({row.bits for row in rows})):
        found = {row.layer: getattr(row.damage, metric) for row in rows if row.bits == bits}
        places = [place for place, layer in enumerate(layers) if layer in found]
        axes.plot(
            places,
            [found[layers[place]] for place in places],
            color=CATEGORIES[index % len(CATEGORIES)],
            marker="o",
            markersize=3.5,
            linewidth=1.4,
            label=f"{bits} bits",
        )
