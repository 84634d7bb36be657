"""The newest state of a training in a file, from which it continues after it was cut off."""

from __future__ import annotations

import copy
import io
import logging
import time
from pathlib import Path
from typing import Any

import torch

from qatexp.errors import StoreError
from qatexp.store.checked import read_checked, write_checked
from qatexp.store.entries import CHECKPOINT
from qatexp.training.snapshot import TrainingState

log = logging.getLogger(__name__)

LAYOUT = 1
"""Of the file's content; another one is not read."""


class Checkpoints:
    """The checkpoint file of one training.

    Args:
        folder: where the file lies; it is made with the first checkpoint.
        seconds: least time from the start, and from one checkpoint to the next; 0: no limit.
    """

    shared = False
    """Whether another training has left what this one continues from."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._path = folder / CHECKPOINT
        self._seconds = seconds
        self._latest = time.monotonic()

    def offer(self, training: TrainingState) -> None:
        """Write the state after an epoch, if the last checkpoint is long enough ago.

        Raises:
            StoreError: the folder cannot be written to, or the disk is full. The checkpoint
                before stays.
        """
        if time.monotonic() - self._latest < self._seconds:
            return
        self._path.parent.mkdir(exist_ok=True)
        write_state(training, self._path)
        self._latest = time.monotonic()

    def resume_(self, training: TrainingState) -> None:
        """Bring a training that starts to its checkpoint; it stays at its start without one.

        A checkpoint that cannot be read is set aside with a warning.
        """
        for half_written in self._path.parent.glob(f".{CHECKPOINT}.*"):
            half_written.unlink()
        if not self._path.exists():
            return
        try:
            restore_state_(training, self._path)
        except StoreError as problem:
            self._set_aside(problem)

    def _set_aside(self, problem: StoreError) -> None:
        aside = self._path.with_name(f"{CHECKPOINT}.damaged-{time.time_ns()}")
        self._path.rename(aside)
        text = "checkpoint %s cannot be used (%s); the training starts from its beginning"
        log.warning(text, aside, problem)


def write_state(training: TrainingState, path: Path) -> None:
    """Write all that changes from epoch to epoch, atomically.

    Raises:
        StoreError: the folder cannot be written to, or the disk is full.
    """
    content = io.BytesIO()
    torch.save({"layout": LAYOUT, "training": training.capture()}, content)
    write_checked(path, content.getbuffer())


def restore_state_(training: TrainingState, path: Path) -> None:
    """Bring a training to the state that `write_state` has written.

    Raises:
        StoreError: the file is damaged, or of another layout or training; this one is then as
            before.
    """
    start = copy.deepcopy(training.capture())
    try:
        training.restore_(_read(path))
    except Exception as problem:  # torch has many classes for a file that is another one
        training.restore_(start)
        reason = str(problem).strip() or type(problem).__name__
        raise StoreError(reason.splitlines()[0]) from problem


def _read(path: Path) -> dict[str, Any]:
    file = io.BytesIO(read_checked(path))
    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if content["layout"] != LAYOUT:
        raise StoreError(f"it has layout {content['layout']}, this version reads {LAYOUT}")
    training: dict[str, Any] = content["training"]
    return training
