"""A lock that processes of many hosts can take on one folder, and that a dead one does not keep.

The lock is a file that only one process can create (`O_EXCL`, which NFS has too); it says whose it
is, see `qatexp.store.heartbeat`. That is not what `filelock.FileLock` gives, which was here
before: a `flock`, in local file systems freed at once when its process dies. On NFS it becomes a
byte-range lock of the server; a host that crashes keeps it until the server forgets that host
(NFSv4) or until it boots again (NFSv3), and with `nolock` or `local_lock=flock` other hosts do not
see it at all. It also does not say who holds it. So no `flock` is held while a stage is computed.

It is right for the moments in which a lock file is removed: "is it still the dead one's?" and "away
with it" must not be torn apart by another process that does the same. Where even that `flock` is
local, two hosts that meet in such a moment may compute the same stage, and the first one's counts.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import BaseFileLock, FileLock, Timeout

from qatexp.store.heartbeat import (
    Owner,
    is_over,
    keep_alive,
    let_go,
    new_token,
    read_owner,
    signature,
)

log = logging.getLogger(__name__)

GUARD_FILE = ".guard"
GUARD_SECONDS = 10.0
"""Removals take milliseconds: whoever keeps others from them for so long is a host that is gone."""
TELL_SECONDS = 1.0
"""How long to wait without a word."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.02, 1.0


def moment_lock(path: Path) -> BaseFileLock:
    """A lock of the system for moments alone, such as reading and writing one file anew.

    The system frees it when the process ends, however it does. What takes longer needs a `Lock`:
    see above.
    """
    return FileLock(path)


class Lock:
    """A lock file; it is there while somebody holds the lock, or until his death is noticed.

    As a context manager it waits for whoever holds it. Its folder must exist, and all methods
    raise OSError where that cannot be written to.
    """

    def __init__(self, path: Path, *, on_wait: Callable[[Owner], None] | None = None) -> None:
        self.path = path
        self._on_wait = on_wait
        self._token: str | None = None
        self._process = 0

    def __enter__(self) -> Lock:
        """Wait for the lock, and tell `on_wait` of everybody for whom that takes a while."""
        told, started, pause = "", time.monotonic(), FIRST_PAUSE_SECONDS
        while (holder := self.try_acquire()) is not None:
            is_long = time.monotonic() - started >= TELL_SECONDS
            if self._on_wait is not None and is_long and holder.token != told:
                self._on_wait(holder)
                told = holder.token
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.release()

    def try_acquire(self) -> Owner | None:
        """Take the lock if it is free or its holder is dead; else return the holder."""
        while not self._create():
            holder = read_owner(self.path)
            if holder is None:
                continue  # released in between
            if not is_over(holder, self.path):
                return holder
            if self._remove(holder.token, dead=True):
                log.info("%s was locked by a process that has died: %s", self.path, holder)
        return None

    def holder(self) -> Owner | None:
        """Who holds the lock now, alive as far as can be told; None where it is free."""
        owner = read_owner(self.path)
        return None if owner is None or is_over(owner, self.path) else owner

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held, or was lost to another process."""
        token, self._token = self._token, None
        if token is None or self._process != os.getpid():
            return
        let_go(token)
        self._remove(token)

    def _create(self) -> bool:
        token = new_token()
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(signature(token))
            keep_alive(token, self.path)
        except BaseException:
            let_go(token)
            self.path.unlink(missing_ok=True)
            raise
        self._token, self._process = token, os.getpid()
        return True

    def _remove(self, token: str, *, dead: bool = False) -> bool:
        """Remove the lock file if it still has this token, and if its owner still counts as dead.

        The latter only where it has to; returns whether the file was removed.
        """
        with self._guarded():
            owner = read_owner(self.path)
            if owner is None or owner.token != token or (dead and not is_over(owner, self.path)):
                return False
            self.path.unlink(missing_ok=True)
            return True

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        guard = moment_lock(self.path.with_name(GUARD_FILE))
        try:
            guard.acquire(timeout=GUARD_SECONDS)
        except Timeout:
            text = "%s has been locked for %.0f s by a host that seems to be gone; going on without"
            log.warning(text, guard.lock_file, GUARD_SECONDS)
        try:
            yield
        finally:
            guard.release()
