"""Finished stages on disk, under the fingerprint of everything that they depend on.

An entry is a folder that appears at once, by a rename, with a manifest of checksums; its files are
never changed afterwards. A lock per entry lets one process compute while others, of whatever host,
wait for the result.
"""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qatexp.errors import StoreError
from qatexp.store.entries import (
    damage_of,
    hidden_folder,
    lock_of,
    mark_used,
    partial_of,
    set_aside,
    write_manifest,
)
from qatexp.store.heartbeat import Owner
from qatexp.store.lock import Lock
from qatexp.store.uses import Uses

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished stage: its folder, and whether it was there already."""

    folder: Path
    cached: bool


class StageCache:
    """Finished stages below one folder.

    What was taken is not pruned by others as long as this object lives.

    Args:
        folder: where entries live; None computes everything anew, in a temporary folder that
            lives as long as this object.
        run: the folder of the run that takes them, for those who look at the cache.
    """

    def __init__(self, folder: Path | None, *, run: Path | None = None) -> None:
        self._reuse = folder is not None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="qatexp-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._root = folder
        self._uses = Uses(folder, run) if self._reuse else None

    def get(self, stage: str, fingerprint: str, make: Callable[[Path], None]) -> Entry:
        """Return the entry of a stage, made by `make(empty folder)` if it is not there.

        Raises:
            StoreError: the cache folder cannot be written to, or `make` met another file that
                cannot be read or written.
        """
        entry = self._entry(stage, fingerprint)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            with self._lock(entry):
                self._take(entry)
                cached = self._reuse and self._is_sound(entry)
                if cached:
                    mark_used(entry)
                else:
                    self._make(entry, make)
                shutil.rmtree(partial_of(entry), ignore_errors=True)
        except OSError as problem:
            raise StoreError(self._reason(stage, problem)) from problem
        return Entry(entry, cached=cached)

    def find(self, stage: str, fingerprint: str) -> Path | None:
        """Return the folder of a finished stage, None where there is none to be reused.

        Raises:
            StoreError: the cache folder cannot be written to.
        """
        entry = self._entry(stage, fingerprint)
        if not self._reuse or not entry.is_dir():
            return None
        try:
            with self._lock(entry):
                if not self._is_sound(entry):
                    return None
                self._take(entry)
                mark_used(entry)
                return entry
        except OSError as problem:
            raise StoreError(self._reason(stage, problem)) from problem

    def partial(self, stage: str, fingerprint: str) -> Path | None:
        """Name the folder for what `make` leaves while it works, in case that it is cut off.

        It lies beside the entry, may not exist yet, is removed once the entry is there, and belongs
        to whoever makes the entry at the time. None without a cache: nobody would find it again.
        """
        return partial_of(self._entry(stage, fingerprint)) if self._reuse else None

    def _lock(self, entry: Path) -> Lock:
        def told(holder: Owner) -> None:
            log.info("%s: waiting for the same stage, computed by %s", entry.parent.name, holder)

        return Lock(lock_of(entry), on_wait=told)

    def _take(self, entry: Path) -> None:
        """Say that an entry is used, or being made, while it is locked: nobody prunes it later."""
        if self._uses is not None:
            self._uses.add(entry)

    def _entry(self, stage: str, fingerprint: str) -> Path:
        return self._root / stage / fingerprint

    def _reason(self, stage: str, problem: OSError) -> str:
        """Blame the cache folder, unless `make` met a file somewhere else."""
        if problem.filename is not None:
            path = Path(str(problem.filename)).absolute()
            if not path.is_relative_to(self._root.absolute()):
                return f"stage {stage}: cannot use {path}: {problem.strerror}"
        return f"cannot write to cache.dir={self._root}: {problem.strerror or problem}"

    def _make(self, entry: Path, make: Callable[[Path], None]) -> None:
        working = hidden_folder(entry)
        try:
            make(working)
            write_manifest(working)
            if entry.is_dir() and not self._reuse:
                shutil.rmtree(entry)
            working.rename(entry)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not entry.is_dir():
                raise
            # This process stood still for so long that its lock was taken from it.
            log.warning("%s was finished by another process in the meantime", entry)
        finally:
            shutil.rmtree(working, ignore_errors=True)

    def _is_sound(self, entry: Path) -> bool:
        if not entry.is_dir():
            return False
        damaged = damage_of(entry)
        if not damaged:
            return True
        aside = set_aside(entry)
        log.warning("cached stage %s is damaged (%s); computing it anew", aside, ", ".join(damaged))
        return False
