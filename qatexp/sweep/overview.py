"""The trials that are running, one live line each; nothing where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from qatexp.store.progress import Progress

REFRESH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One running trial."""

    name: str
    settings: str
    progress: Progress | None


Show = Callable[[Sequence[Row], int], None]
"""Show the rows, and how many trials still wait."""


@contextmanager
def overview() -> Iterator[Show]:
    """Open the table of running trials; log lines go above it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _rows, _waiting: None
        return
    with Live(console=console, transient=True, refresh_per_second=1 / REFRESH_SECONDS) as live:
        yield lambda rows, waiting: live.update(table(rows, waiting, now=time.time()))


def table(rows: Sequence[Row], waiting: int, *, now: float) -> Table:
    """Stage, step, loss and remaining time of every running trial."""
    found = Table(box=None, pad_edge=False, caption=f"{waiting} waiting", caption_justify="left")
    for heading in ("trial", "settings", "stage", "step", "loss", "left"):
        found.add_column(heading, justify="left" if heading == "settings" else "right")
    for row in rows:
        found.add_row(row.name, row.settings, *_cells(row.progress, now))
    return found


def _cells(progress: Progress | None, now: float) -> tuple[str, str, str, str]:
    if progress is None:
        return "starting", "", "", ""
    step = f"{progress.step}/{progress.steps}" if progress.steps else ""
    loss = "" if progress.loss is None else f"{progress.loss:.3f}"
    left = progress.seconds_left(now)
    return progress.stage, step, loss, "" if left is None else _duration(left)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
