"""Which processes work on a search: whose trials are running, and whose were cut off."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import TracebackType

from qatexp.store.lock import Lock

_FOLDER = ".workers"


def has_workers(folder: Path) -> bool:
    """Whether any process works on a search now.

    Args:
        folder: of the sweep.
    """
    names = (folder / _FOLDER).glob("[!.]*")
    return any(Lock(path).holder() is not None for path in names)


class Worker:
    """This process, with a lock that shows to others, on any host, that it lives.

    Args:
        folder: of the sweep; only processes with the same one can tell whether it is alive.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self.name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._lock = Lock(self._folder / self.name)

    def __enter__(self) -> Worker:
        """Take the lock."""
        self._folder.mkdir(exist_ok=True)
        self._lock.try_acquire()  # nobody else has its name
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it; what is still running then was cut off."""
        self._lock.release()

    def is_alive(self, name: str) -> bool:
        """Whether a process, this one or another, still holds its lock."""
        return name == self.name or Lock(self._folder / name).holder() is not None
