"""Show how far a training is: a live bar on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qatexp.config.variables import PROGRESS
from qatexp.store.progress import Progress as Told
from qatexp.store.progress import ProgressFile

log = logging.getLogger(__name__)


class Reporter(Protocol):
    """What the training loop tells while it runs."""

    def step(self, loss: float | None) -> None:
        """One step is done; the loss is given now and then."""

    def epoch(self, text: str) -> None:
        """One epoch is done; `text` sums it up."""


class _Silent:
    def step(self, loss: float | None) -> None:
        """Ranks above zero say nothing."""

    def epoch(self, text: str) -> None:
        """Ranks above zero say nothing."""


class _Plain:
    def step(self, loss: float | None) -> None:
        """Steps are too many for a log."""

    def epoch(self, text: str) -> None:
        """Log one line."""
        log.info(text)


class _Live:
    def __init__(self, progress: Progress, total: int, done: int, name: str) -> None:
        self.progress = progress
        self.task = progress.add_task(name, total=total, completed=done, loss="")

    def step(self, loss: float | None) -> None:
        """Move the bar."""
        if loss is None:
            self.progress.update(self.task, advance=1)
        else:
            self.progress.update(self.task, advance=1, loss=f"loss {loss:.3f}")

    def epoch(self, text: str) -> None:
        """Log one line above the bar."""
        log.info(text)


class _Filed:
    """Tells another reporter, and the file that the process of the sweep reads."""

    def __init__(self, inner: Reporter, file: ProgressFile, name: str, steps: int) -> None:
        self.inner, self.file, self.name, self.steps = inner, file, name, steps
        self.started, self.taken = time.time(), 0
        self.loss: float | None = None

    def step(self, loss: float | None) -> None:
        """Count steps of this process alone: the pace tells the remaining time."""
        self.inner.step(loss)
        self.taken += 1
        self.loss = self.loss if loss is None else loss
        self.file.tell(Told(self.name, self.started, self.taken, self.steps, self.loss))

    def epoch(self, text: str) -> None:
        """Tell the other reporter alone."""
        self.inner.epoch(text)


@contextmanager
def reporter(name: str, *, steps: int, done: int = 0, quiet: bool) -> Iterator[Reporter]:
    """Open the reporter that fits, told in a file too where `QATEXP_PROGRESS` names one.

    Args:
        name: what is trained.
        steps: of the whole training.
        done: how many of them lie before its start.
        quiet: say nothing.
    """
    path = os.environ.get(PROGRESS)
    with _shown(name, steps=steps, done=done, quiet=quiet) as inner:
        if path is None or quiet:
            yield inner
        else:
            yield _Filed(inner, ProgressFile(Path(path)), name, steps - done)


@contextmanager
def _shown(name: str, *, steps: int, done: int, quiet: bool) -> Iterator[Reporter]:
    """None for `quiet` ranks, live on a terminal, else plain."""
    console = Console(stderr=True)
    if quiet:
        yield _Silent()
    elif not console.is_terminal:
        yield _Plain()
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _Live(progress, steps, done, name)
