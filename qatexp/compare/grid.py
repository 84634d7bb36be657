"""A table of text, before it becomes a table on a terminal or in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how its cells line up."""

    heading: str
    """With a line break where a narrow column would best have one."""
    is_number: bool = True
    is_setting: bool = False
    """Whether a narrow terminal does without this column, the first of its kind apart."""
    is_spare: bool = False
    """Whether it does without this one where that is not enough."""

    @property
    def name(self) -> str:
        """The heading in one line."""
        return " ".join(self.heading.split())


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells by row, as long as `columns` each; the rows in `marked` stand out."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()

    def min_width(self, index: int) -> int:
        """Characters that a column needs: cells stay whole, headings break between words."""
        return max(map(len, (*self.columns[index].heading.split(), *self._cells(index))))

    def full_width(self, index: int) -> int:
        """Characters that a column needs with its heading broken only where it says so."""
        return max(map(len, (*self.columns[index].heading.splitlines(), *self._cells(index))))

    def _cells(self, index: int) -> list[str]:
        return [row[index] for row in self.rows]

    def narrowed(self, width: int) -> Grid:
        """Leave out as many columns as it takes to fit `width`: figures matter most.

        Settings go first, the widest before the others, until one is left; then spare figures,
        from the right.
        """
        indices = range(len(self.columns))
        settings = [i for i in indices if self.columns[i].is_setting]
        spare = [i for i in indices if self.columns[i].is_spare]
        kept = list(indices)
        for index in (*sorted(settings[1:], key=self.min_width)[::-1], *reversed(spare)):
            if sum(self.min_width(i) + 1 for i in kept) - 1 <= width:
                break
            kept.remove(index)
        columns = tuple(self.columns[i] for i in kept)
        return Grid(columns, tuple(tuple(row[i] for i in kept) for row in self.rows), self.marked)


def no_room_notes(whole: Sequence[Grid], shown: Sequence[Grid], *, file: str) -> list[str]:
    """Say which columns of some grids a narrow terminal does without, and where they are."""
    pairs = zip(whole, shown, strict=True)
    missing = [c.name for all_, kept in pairs for c in all_.columns if c not in kept.columns]
    return [f"no room for {', '.join(dict.fromkeys(missing))}: see {file}"] if missing else []


def to_rich(grid: Grid, *, width: int) -> Table:
    """Lay a grid out for a terminal; settings fold, if need be, but figures never break.

    Args:
        grid: what to show.
        width: of the terminal, in characters; where there is room, columns stand further apart.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    gap, widths = _layout(grid, width)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),
        header_style="bold",
    )
    for column, fixed in zip(grid.columns, widths, strict=True):
        table.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            vertical="bottom",
            width=fixed,
            overflow="fold",
        )
    for index, row in enumerate(grid.rows):
        # Text, not str: a cell may hold brackets, which rich would read as markup.
        style = "bold green" if index in grid.marked else ""
        table.add_row(*(Text(cell) for cell in row), style=style)
    return table


def _layout(grid: Grid, width: int) -> tuple[int, list[int | None]]:
    """Gap between columns, and their widths: the roomiest that fits, or None to let rich fold."""
    indices = range(len(grid.columns))
    full = [grid.full_width(index) for index in indices]
    tight = [grid.min_width(index) for index in indices]
    for gap, widths in ((2, full), (1, full), (1, tight)):
        if sum(widths) + gap * (len(widths) - 1) <= width:
            return gap, list(widths)
    return 1, [None for _ in indices]


def to_markdown(grid: Grid) -> str:
    """Write a grid as a table in GitHub's Markdown; marked rows are bold."""
    rules = ["---:" if column.is_number else "---" for column in grid.columns]
    lines = [_line([column.name for column in grid.columns]), _line(rules, escape=False)]
    for index, row in enumerate(grid.rows):
        lines.append(_line(row, bold=index in grid.marked))
    return "\n".join(lines)


def _line(cells: Sequence[str], *, escape: bool = True, bold: bool = False) -> str:
    texts = [escape_markdown(cell) if escape else cell for cell in cells]
    return f"| {' | '.join(f'**{text}**' if bold and text else text for text in texts)} |"


def escape_markdown(text: str) -> str:
    """Keep characters of a message or a setting from being read as Markdown, in one line."""
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
