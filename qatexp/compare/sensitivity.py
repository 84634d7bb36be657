"""Sensitivities of layers as a table on a terminal, in Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.compare.grid import Column, Grid, no_room_notes, to_markdown, to_rich
from qatexp.compare.rows import csv_text
from qatexp.records.sensitivity import Damage, Sensitivity
from qatexp.results.units import points
from qatexp.store.atomic import write_text

if TYPE_CHECKING:
    from rich.console import Console

CSV_FILE, MARKDOWN_FILE = "sensitivity.csv", "sensitivity.md"
TITLES = {
    "weight": "Weight of one layer quantized",
    "activation": "Input of one layer quantized",
}
"""Tables, by kind of tensor."""
NOTE = (
    "top-1 drop in points, SQNR of the logits in dB and KL divergence of the predictions in nats, "
    "against FP32 on {images:,} training images; the layer with the largest KL divergence at the "
    "fewest bits first"
)


def sensitivity_grid(rows: Sequence[Sensitivity], tensor: str) -> Grid:
    """One row per layer: top-1 drop and SQNR at each of the bits; KL at the fewest orders them."""
    by_layer: dict[str, dict[int, Damage]] = {}
    for row in rows:
        if row.tensor == tensor:
            by_layer.setdefault(row.layer, {})[row.bits] = row.damage
    bits = sorted({row.bits for row in rows if row.tensor == tensor})
    fewest = bits[:1]
    order = sorted(by_layer, key=lambda name: -by_layer[name][bits[0]].kl)
    columns = [
        Column("layer", is_number=False),
        *(Column(f"drop\n{b} bit") for b in bits),
        *(Column(f"SQNR\n{b} bit", is_spare=True) for b in bits),
        *(Column(f"KL\n{b} bit") for b in fewest),
    ]
    cells = [
        (
            name,
            *(points(by_layer[name][b].top1_drop) for b in bits),
            *(f"{by_layer[name][b].sqnr_db:.1f}" for b in bits),
            *(f"{by_layer[name][b].kl:.2g}" for b in fewest),
        )
        for name in order
    ]
    return Grid(tuple(columns), tuple(cells))


def print_sensitivity(rows: Sequence[Sensitivity], console: Console, *, images: int) -> None:
    """Print a table for weights and one for activations, measured on so many images.

    A terminal too narrow for all columns does without some of SQNR, and a line says so.
    """
    whole = [sensitivity_grid(rows, tensor) for tensor in TITLES]
    shown = [grid.narrowed(console.width) for grid in whole]
    for title, grid in zip(TITLES.values(), shown, strict=True):
        console.print()
        console.print(title, style="bold", markup=False, highlight=False)
        console.print(to_rich(grid, width=console.width))
    console.print()
    for note in (*no_room_notes(whole, shown, file=MARKDOWN_FILE), NOTE.format(images=images)):
        console.print(note, markup=False, highlight=False)


def write_sensitivity(rows: Sequence[Sensitivity], folder: Path, *, images: int) -> list[Path]:
    """Write ``sensitivity.csv``, with all figures, and ``sensitivity.md``, the tables.

    Raises:
        StoreError: a file cannot be written.
    """
    flat = [
        {"layer": row.layer, "tensor": row.tensor, "bits": row.bits, **asdict(row.damage)}
        for row in rows
    ]
    tables = [
        f"## {title}\n\n{to_markdown(sensitivity_grid(rows, tensor))}"
        for tensor, title in TITLES.items()
    ]
    written = [folder / CSV_FILE, folder / MARKDOWN_FILE]
    write_text(written[0], csv_text(flat))
    write_text(
        written[1],
        "\n\n".join(["# Sensitivity of layers", *tables, NOTE.format(images=images)]) + "\n",
    )
    return written
