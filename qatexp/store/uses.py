"""Which entries of a stage cache runs are using: a file for each run, kept while it lives.

The file of a run that was killed stays: the same command would go on with these entries.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qatexp.store.atomic import write_text
from qatexp.store.heartbeat import (
    Owner,
    is_over,
    keep_alive,
    let_go,
    new_token,
    read_owner,
    signature,
)

FOLDER = ".uses"


@dataclass(frozen=True, slots=True)
class Use:
    """Entries that one run has taken."""

    path: Path
    owner: Owner
    is_over: bool
    """Whether its process has died."""
    run: Path | None
    """The folder of the run."""
    entries: frozenset[str]
    """``<stage>/<fingerprint>``."""


class Uses:
    """Tells others which entries this process is using, until this object is gone."""

    def __init__(self, root: Path, run: Path | None) -> None:
        self._path = root / FOLDER / f"{new_token()}.json"
        self._token = self._path.stem
        self._run = None if run is None else str(run.absolute())
        self._entries: set[str] = set()
        weakref.finalize(self, _end, self._path, self._token, os.getpid())

    def add(self, entry: Path) -> None:
        """Say that an entry is being used; its lock is held.

        Raises:
            OSError: the cache folder cannot be written to.
        """
        name = f"{entry.parent.name}/{entry.name}"
        if name in self._entries:
            return
        self._entries.add(name)
        self._path.parent.mkdir(exist_ok=True)
        content = signature(self._token, run=self._run, entries=sorted(self._entries))
        write_text(self._path, content)
        keep_alive(self._token, self._path)


def _end(path: Path, token: str, process: int) -> None:
    if process == os.getpid():  # not in a copy of the process, which ends sooner
        let_go(token)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_uses(root: Path) -> list[Use]:
    """All runs that use entries below a cache's folder, or were killed while they did."""
    uses = []
    for path in sorted((root / FOLDER).glob("[!.]*.json")):
        owner = read_owner(path)
        if owner is not None:
            run = owner.content.get("run")
            entries = frozenset(owner.content.get("entries", ()))
            over = is_over(owner, path)
            uses.append(Use(path, owner, over, None if run is None else Path(run), entries))
    return uses
