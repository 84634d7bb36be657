"""Files by which a process shows that it lives, to processes of any host that see the folder.

Such a file holds who owns it, and its time is renewed every few seconds. A process of the same host
is looked at, so its death counts at once. Of another host only the file is seen: not renewed for
`EXPIRY_SECONDS`, its owner counts as dead. Both times that are compared then come from the file
system that holds the folder, so the clocks of hosts may differ.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qatexp.machine.processes import Process, process_of, this_process

log = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
EXPIRY_SECONDS = 120.0
"""Long against the renewals, and against the 60 s for which NFS clients may keep a file's times."""
CLOCK_FILE = ".clock"


@dataclass(frozen=True, slots=True)
class Owner:
    """What a file says of the process that keeps it."""

    process: Process | None
    """None where the file cannot be read: it was cut while it was written, for instance."""
    since: float
    """When it was made, by the owner's clock (Unix time): for people."""
    token: str
    content: dict[str, Any] = field(default_factory=dict)
    """What else the file holds."""

    def __str__(self) -> str:
        """As the end of a message: who, and since when."""
        if self.process is None:
            return "a process that left no name"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process.pid} on host {self.process.host}, since {since}"


def signature(token: str, **content: Any) -> str:
    """The text of a file that this process keeps."""
    process = this_process().to_json()
    return json.dumps({"process": process, "since": time.time(), "token": token, **content})


def new_token() -> str:
    """A name for one ownership of a file."""
    return uuid.uuid4().hex


def read_owner(path: Path) -> Owner | None:
    """Who keeps a file; None where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        process, since = process_of(found.pop("process")), float(found.pop("since"))
        return Owner(process, since, str(found.pop("token")), found)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Owner(None, 0.0, "")


def is_over(owner: Owner, path: Path) -> bool:
    """Whether the process that kept a file has died, as far as this host can tell."""
    if owner.process is not None and owner.process.is_here:
        return owner.process.is_dead
    try:
        # To open a file makes an NFS client ask the server for its times.
        with path.open("rb") as file:
            renewed = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    return clock(path.parent) - renewed > EXPIRY_SECONDS


def clock(folder: Path) -> float:
    """What time it is for the file system of a folder (Unix time).

    Raises:
        OSError: the folder cannot be written to.
    """
    path = folder / CLOCK_FILE
    path.touch()  # without a time of its own, which NFS would take from this host
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime


class _Heartbeat:
    """The thread of this process that renews its files."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, token: str, path: Path) -> None:
        with self._guard:
            self._files[token] = path.absolute()
            if self._thread is None:
                # It computes nothing and must not keep a process alive that has ended.
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def remove(self, token: str) -> None:
        with self._guard:
            self._files.pop(token, None)

    def _run(self) -> None:
        while True:
            time.sleep(RENEW_SECONDS)
            self.beat()

    def beat(self) -> None:
        with self._guard:
            files = dict(self._files)
        for token, path in files.items():
            # A file system that does not answer now may do so next time.
            with suppress(OSError):
                self._renew(token, path)

    def _renew(self, token: str, path: Path) -> None:
        owner = read_owner(path)
        if owner is not None and owner.token == token:
            os.utime(path)
        elif token in self._files:
            self.remove(token)
            text = "%s is no longer this process's, which stood still for too long; it is now of %s"
            log.warning(text, path, owner or "nobody")


_heartbeat = _Heartbeat()


def _start_anew() -> None:
    """A child that was forked owns nothing of its parent's, and does not have the thread."""
    global _heartbeat  # noqa: PLW0603
    _heartbeat = _Heartbeat()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def keep_alive(token: str, path: Path) -> None:
    """Renew a file from now on, as long as this process lives and the file has this token."""
    _heartbeat.add(token, path)


def let_go(token: str) -> None:
    """Renew the file of this token no longer."""
    _heartbeat.remove(token)
