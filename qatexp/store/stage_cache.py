"""Finished stages on disk, under the fingerprint of everything that they depend on.

An entry is a folder that appears at once, by a rename, with a manifest of checksums; it is never
changed afterwards. A lock per entry lets one process compute while others wait for the result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from qatexp.errors import StoreError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished stage: its folder, and whether it was there already."""

    folder: Path
    cached: bool


class StageCache:
    """Finished stages below one folder.

    Args:
        folder: where entries live; None computes everything anew, in a temporary folder that
            lives as long as this object.
    """

    def __init__(self, folder: Path | None) -> None:
        self._reuse = folder is not None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="qatexp-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._root = folder

    def get(self, stage: str, fingerprint: str, make: Callable[[Path], None]) -> Entry:
        """Return the entry of a stage, made by `make(empty folder)` if it is not there.

        Raises:
            StoreError: the cache folder cannot be written to, or `make` met another file that
                cannot be read or written.
        """
        entry = self._entry(stage, fingerprint)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(entry.with_suffix(".lock")):
                cached = self._reuse and self._is_sound(entry)
                if not cached:
                    self._make(entry, make)
                shutil.rmtree(entry.with_suffix(".partial"), ignore_errors=True)
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
            with FileLock(entry.with_suffix(".lock")):
                return entry if self._is_sound(entry) else None
        except OSError as problem:
            raise StoreError(self._reason(stage, problem)) from problem

    def partial(self, stage: str, fingerprint: str) -> Path | None:
        """Name the folder for what `make` leaves while it works, in case that it is cut off.

        It lies beside the entry, may not exist yet, is removed once the entry is there, and belongs
        to whoever makes the entry at the time. None without a cache: nobody would find it again.
        """
        return self._entry(stage, fingerprint).with_suffix(".partial") if self._reuse else None

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
        working = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
        try:
            make(working)
            sums = {path.name: _checksum(path) for path in sorted(working.iterdir())}
            (working / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
            if entry.is_dir():  # not to be reused: the cache is disabled
                shutil.rmtree(entry)
            working.rename(entry)
        finally:
            shutil.rmtree(working, ignore_errors=True)

    def _is_sound(self, entry: Path) -> bool:
        """Check an entry's files; a damaged one is set aside, so that nothing is lost silently."""
        if not entry.is_dir():
            return False
        try:
            sums = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            damaged = [name for name, value in sums.items() if _checksum(entry / name) != value]
        except (OSError, ValueError, AttributeError) as problem:
            damaged = [str(problem)]
        if not damaged:
            return True
        aside = entry.with_name(f"{entry.name}.damaged-{time.time_ns()}")
        entry.rename(aside)
        log.warning("cached stage %s is damaged (%s); computing it anew", aside, ", ".join(damaged))
        return False


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
