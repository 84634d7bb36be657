"""Delete from a stage cache by rule, and never what somebody computes or uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qatexp.cache.items import DECODED, Item, Kind
from qatexp.cache.references import is_unfinished
from qatexp.errors import StoreError
from qatexp.store.entries import entry_of, hidden_folder, lock_of
from qatexp.store.lock import Lock
from qatexp.store.uses import read_uses


@dataclass(frozen=True, slots=True)
class Rules:
    """What is to go: items that meet all of the conditions that are given."""

    idle_seconds: float | None = None
    """Not used for so long."""
    larger_than_bytes: int | None = None
    keep_bytes: int | None = None
    """Of what meets the other rules, the least recently used, until no more than this is left."""
    unused: bool = False
    """No run depends on it. Of decoded images records do not tell: they are kept."""
    damaged: bool = False
    """With `partial`: either of the two; without: nothing else."""
    partial: bool = False
    """Checkpoints of unfinished trainings, and epochs of trainings that nobody has finished."""
    stage: str | None = None

    @property
    def are_given(self) -> bool:
        """Whether anything says what is to go; a stage alone does not."""
        numbers = (self.idle_seconds, self.larger_than_bytes, self.keep_bytes)
        flags = (self.unused, self.damaged, self.partial)
        return any(flags) or any(number is not None for number in numbers)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of the items that were chosen."""

    deleted: tuple[Item, ...]
    spared: tuple[Item, ...]
    """Taken by somebody, or gone, since they were listed."""


def chosen(items: Sequence[Item], rules: Rules) -> list[Item]:
    """The items that rules apply to, the least recently used first; none that is held or used."""
    found = [item for item in items if not item.holder and _applies(rules, item)]
    found.sort(key=lambda item: item.idle_seconds, reverse=True)
    if rules.keep_bytes is None:
        return found
    return list(_until(found, sum(item.size_bytes for item in items) - rules.keep_bytes))


def _until(items: Sequence[Item], size_bytes: int) -> Iterator[Item]:
    for item in items:
        if size_bytes <= 0:
            return
        size_bytes -= item.size_bytes
        yield item


def _applies(rules: Rules, item: Item) -> bool:
    kinds = {Kind.damaged: rules.damaged, Kind.partial: rules.partial}
    is_asked_for = kinds.get(item.kind, rules.partial and item.is_abandoned)
    conditions = (
        is_asked_for or not (rules.damaged or rules.partial),
        rules.stage is None or item.stage == rules.stage,
        rules.idle_seconds is None or item.idle_seconds >= rules.idle_seconds,
        rules.larger_than_bytes is None or item.size_bytes > rules.larger_than_bytes,
        not rules.unused or (not item.runs and item.kind is not Kind.decoded),
    )
    return all(conditions)


def prune(items: Sequence[Item], root: Path) -> Pruned:
    """Delete items, each under its lock, unless somebody has taken it in the meantime.

    Raises:
        StoreError: a file cannot be deleted.
    """
    deleted: list[Item] = []
    spared: list[Item] = []
    for item in items:
        try:
            (deleted if _delete(item, root) else spared).append(item)
        except OSError as problem:
            raise StoreError(f"cannot delete {item.path}: {problem.strerror}") from problem
    _forget_ended_runs(root)
    return Pruned(tuple(deleted), tuple(spared))


def _delete(item: Item, root: Path) -> bool:
    if item.stage == DECODED:
        # Who reads it has it open, and who comes later decodes anew.
        item.path.unlink(missing_ok=True)
        return True
    entry = entry_of(item.path)
    lock = Lock(lock_of(entry))
    if lock.try_acquire() is not None:
        return False
    try:
        if not _is_as_listed(item, root):
            return False
        away = hidden_folder(entry)  # gone at once for others, however long deleting takes
        item.path.rename(away)
    finally:
        lock.release()
    shutil.rmtree(away)
    return True


def _is_as_listed(item: Item, root: Path) -> bool:
    """Whether nobody has taken, used or replaced an item since it was listed; its lock is held."""
    if item.kind in (Kind.finished, Kind.stem):
        name = f"{item.stage}/{item.hash}"
        if any(name in use.entries and not use.is_over for use in read_uses(root)):
            return False
    try:
        return item.path.stat().st_mtime_ns == item.changed_ns
    except FileNotFoundError:
        return False


def _forget_ended_runs(root: Path) -> None:
    """Remove what killed runs left of their use, once another attempt has ended."""
    for use in read_uses(root):
        if use.is_over and (use.run is None or not is_unfinished(use.run)):
            use.path.unlink(missing_ok=True)
