"""How far a trial is, in a small file that the sweep's process reads; it is no result."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

INTERVAL_SECONDS = 0.5
"""Least time between two writes within a stage."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a trial."""

    stage: str
    started: float
    """When the stage started (Unix time)."""
    step: int = 0
    steps: int = 0
    """Of a training; 0 for stages that are told as a whole."""
    loss: float | None = None

    def seconds_left(self, now: float) -> float | None:
        """Estimate from the pace so far; None where nothing is known."""
        if not self.step or not self.steps:
            return None
        return (now - self.started) / self.step * (self.steps - self.step)


class ProgressFile:
    """Writes `Progress` to a path, as often as somebody could read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0

    def tell(self, progress: Progress) -> None:
        """Write it now if it is a new stage, else if the last one is old enough."""
        now = time.monotonic()
        if progress.step and now - self._written < INTERVAL_SECONDS:
            return
        self._written = now
        temporary = self.path.with_suffix(".tmp")
        with suppress(OSError):  # nobody should lose a trial for want of a progress bar
            temporary.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            temporary.replace(self.path)


def read_progress(path: Path) -> Progress | None:
    """Read what was told last; None where there is nothing yet."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
