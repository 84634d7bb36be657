"""Which processes work on a search: whose trials are running, and whose were cut off."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

_FOLDER = ".workers"


class Worker:
    """This process, with a lock that the system frees when it ends, however it does.

    Args:
        folder: of the sweep; only processes with the same one can tell whether it is alive.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self.name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._lock = FileLock(self._folder / self.name)

    def __enter__(self) -> Worker:
        """Take the lock."""
        self._folder.mkdir(exist_ok=True)
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it; what is still running then was cut off."""
        self._lock.release()
        (self._folder / self.name).unlink(missing_ok=True)

    def is_alive(self, name: str) -> bool:
        """Whether a process, this one or another, still holds its lock."""
        if name == self.name:
            return True
        path = self._folder / name
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False
