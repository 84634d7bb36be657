"""Comparisons on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatexp.compare.collect import Sweep
from qatexp.compare.grid import no_room_notes, to_rich
from qatexp.compare.report import report
from qatexp.compare.trials import trials_grid
from qatexp.compare.variants import variants_grid
from qatexp.records import Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH = 100
"""Characters that a table is laid out for where nothing says how wide the terminal is."""


def variants_table(record: Record, *, width: int = _WIDTH) -> Table:
    """One run: a row for each of fp32, control, ptq and qat that it has."""
    return to_rich(variants_grid(record), width=width)


def trials_table(sweep: Sweep, *, width: int = _WIDTH) -> Table:
    """A sweep: a row for each finished trial, the best top-1 first, the Pareto front marked."""
    return to_rich(trials_grid(sweep), width=width)


def print_comparison(sweep: Sweep, console: Console) -> None:
    """Print the table of a run or a sweep, its notes, and what went wrong.

    A terminal too narrow for all columns does without some, and a line says which.
    """
    found = report(sweep)
    console.print()
    console.print(found.title, style="bold", markup=False, highlight=False)
    console.print()
    notes = found.notes
    if found.grid is not None:
        grid = found.grid.narrowed(console.width)
        console.print(to_rich(grid, width=console.width))
        console.print()
        notes = [*notes, *no_room_notes([found.grid], [grid], file="compare.md")]
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if found.seeds is not None:
        console.print()
        console.print(to_rich(found.seeds, width=console.width))
        console.print()
    for note in found.seeds_notes:
        console.print(note, markup=False, highlight=False)
    for warning in found.warnings:
        console.print(warning, style="yellow", markup=False, highlight=False)
