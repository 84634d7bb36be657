"""How a trial's process ended, and the record of one that could not write its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qatexp.errors import StoreError
from qatexp.records import PROCESS_STAGE, RECORD_FILE, Record, load_record
from qatexp.store.atomic import write_text
from qatexp.sweep.processes import OUTPUT_FILE

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a network file system may take to show here what another machine has written."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of a trial's process once it has ended; the results are in its record."""

    code: int | None
    """Exit code; the negative number of a signal; None where nobody was there to see it."""
    status: str | None = None
    """Status of the record as its own machine sees it; None where nobody has looked."""
    problem: str = ""
    """Why it was not started, or not seen to end."""
    started: bool = True

    @property
    def kind(self) -> str:
        """Class of the failure of a trial that left no end in its record."""
        if self.code is None:
            return "lost"
        return "killed" if self.code < 0 else "exit"

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        if self.code is None:
            return "its process was lost"
        if self.code < 0:
            return f"its process was killed by signal {-self.code}"
        return f"its process ended with exit code {self.code}"


def status_of(folder: Path) -> str | None:
    """Status of a trial's record; None where there is none."""
    try:
        return load_record(folder).status
    except StoreError:
        return None


def settled(folder: Path, ending: Ending, new: Callable[[], Record]) -> Record:
    """The record of a trial that has ended; one that does not say how is written to say so.

    Args:
        folder: of the trial.
        ending: of its process.
        new: makes the record of a trial that has left none.
    """
    if ending.status not in (None, "running"):
        _wait_for(folder, ending)
    try:
        record = load_record(folder)
    except StoreError:
        record = new()
    if ending.started and record.status != "running":
        return record
    hint = f"; see {OUTPUT_FILE}" if ending.code is not None else ""
    error: dict[str, Any] = {
        "stage": PROCESS_STAGE,
        "kind": ending.kind,
        "message": f"{ending}{hint}",
    }
    record = replace(record, status="failed", error=error)
    write_text(folder / RECORD_FILE, record.to_json())
    return record


def _wait_for(folder: Path, ending: Ending) -> None:
    """Wait until what its own machine has written is seen here, lest it be overwritten."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while status_of(folder) in (None, "running"):
        if time.monotonic() > limit:
            raise StoreError(
                f"{folder / RECORD_FILE} is {ending.status} on the machine that wrote it, which "
                f"cannot be seen here after {PATIENCE_SECONDS:.0f} s; the sweep needs a file "
                "system that all machines share. The same command goes on from here."
            )
        time.sleep(LOOK_SECONDS)
