"""Read everything in a stage cache, and compare it with its checksums."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qatexp.cache.items import DECODED, Item, Kind
from qatexp.errors import StoreError
from qatexp.store.checked import read_checked
from qatexp.store.entries import CHECKPOINT, damage_of, lock_of, set_aside
from qatexp.store.lock import Lock


@dataclass(frozen=True, slots=True)
class Damage:
    """An item whose files are not as they were written."""

    item: Item
    what: str
    aside: Path | None = None
    """Where it was moved to; None where it lies as before."""


def verify(items: Sequence[Item], *, aside: bool) -> Iterator[tuple[Item, Damage | None]]:
    """Check item after item; those that were set aside before are left out.

    Args:
        items: of the cache.
        aside: whether damaged entries are moved out of the way, unless somebody holds them.
    """
    for item in items:
        if item.kind is Kind.damaged:
            continue
        what = _damage(item)
        if not item.path.exists():
            continue  # pruned, or finished, while it was read
        if not what:
            yield item, None
            continue
        yield item, Damage(item, what, _set_aside(item) if aside else None)


def _damage(item: Item) -> str:
    if item.kind in (Kind.finished, Kind.stem):
        try:
            return ", ".join(damage_of(item.path))
        except OSError as problem:
            raise StoreError(f"{item.path} cannot be read: {problem.strerror}") from problem
    if item.kind is Kind.decoded:
        return _archive_damage(item.path)
    path = item.path / CHECKPOINT
    if item.stage == DECODED or not path.exists():
        return ""  # what is not finished promises nothing
    try:
        read_checked(path)
    except StoreError:
        return CHECKPOINT if path.exists() else ""
    return ""


def _archive_damage(path: Path) -> str:
    """What the CRC-32 sums of a file of decoded images say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() or ""
    except (OSError, zipfile.BadZipFile) as problem:
        return str(problem)


def _set_aside(item: Item) -> Path | None:
    """Move an item out of the way, as a run that meets it would."""
    if item.kind is Kind.partial:
        return None  # the training that continues it does so, and says so
    if item.kind is Kind.decoded:
        return item.path.replace(item.path.with_suffix(".damaged"))
    lock = Lock(lock_of(item.path))
    if item.holder or lock.try_acquire() is not None:
        return None
    try:
        # Another one may have done so, and made the entry anew.
        return set_aside(item.path) if damage_of(item.path) else None
    except FileNotFoundError:
        return None
    finally:
        lock.release()
