"""Everything that lies in a stage cache, as people would tell it apart."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from qatexp.errors import ConfigError, StoreError
from qatexp.store.entries import (
    MANIFEST,
    entry_of,
    is_damaged,
    is_partial,
    is_stem,
    lock_of,
    training_of,
)
from qatexp.store.heartbeat import clock
from qatexp.store.lock import Lock
from qatexp.store.uses import read_uses

DECODED = "decoded"
"""Name of the folder with images of data sets, decoded once; it holds files in place of folders."""
_DECODED_SUFFIX, _DECODED_DAMAGED = ".npz", ".damaged"
WRITING_SECONDS = 600.0
"""How long a file without a lock counts as one that somebody is writing just now."""


class Kind(Enum):
    """What an item is."""

    finished = "finished"
    decoded = "decoded images"
    stem = "shared epochs"
    partial = "unfinished"
    damaged = "damaged"


@dataclass(frozen=True, slots=True)
class Item:
    """One folder, or one file of decoded images."""

    path: Path
    kind: Kind
    size_bytes: int
    age_seconds: float
    """Since it was made."""
    idle_seconds: float
    """Since it was used last."""
    changed_ns: int
    """Time of the folder or file itself (Unix time): another one means that it was used since."""
    holder: str = ""
    """Which process is computing it, or using it; empty for none."""
    runs: tuple[str, ...] = ()
    """Runs whose records, or unfinished work, depend on it."""
    is_abandoned: bool = False
    """Whether nobody has finished, or is finishing, the training that it belongs to."""

    @property
    def stage(self) -> str:
        """The stage, or the word for decoded images."""
        return self.path.parent.name

    @property
    def hash(self) -> str:
        """The fingerprint that names it; of decoded images, the name of the file."""
        return self.path.stem if self.stage == DECODED else entry_of(self.path).name

    @property
    def reference(self) -> tuple[str, str]:
        """Stage and fingerprint, as records have them."""
        return self.stage, self.hash


def scan(root: Path, references: Mapping[tuple[str, str], Sequence[str]]) -> list[Item]:
    """Look at a whole cache, at sizes and times alone.

    Args:
        root: `cache.dir`.
        references: runs by the stage and fingerprint of what they depend on.

    Returns:
        The items, in the order of stages and of their last use.

    Raises:
        ConfigError: there is no such folder.
        StoreError: it cannot be read.
    """
    if not root.is_dir():
        raise ConfigError(
            f"--dir={root}: there is no stage cache; give the cache.dir of your runs "
            "(multirun/.stages in the folder that qatexp was called from)."
        )
    try:
        return _scan(root, references)
    except OSError as problem:
        raise StoreError(f"cannot use the cache {root}: {problem.strerror or problem}") from problem


def _scan(root: Path, references: Mapping[tuple[str, str], Sequence[str]]) -> list[Item]:
    now, using = clock(root), _using(root)
    items: list[Item] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith("."):
            continue
        listed = _decoded(folder, now) if folder.name == DECODED else _folders(folder, now)
        items += sorted(listed, key=lambda item: item.idle_seconds)
    by_entry = {f"{item.stage}/{item.hash}": item for item in items if item.kind is Kind.finished}
    return [_with_runs(item, by_entry, using, references) for item in items]


def _using(root: Path) -> dict[str, str]:
    """By entry: the living process that uses it."""
    alive = (use for use in read_uses(root) if not use.is_over)
    return {name: str(use.owner) for use in alive for name in use.entries}


def _with_runs(
    item: Item,
    finished: Mapping[str, Item],
    using: Mapping[str, str],
    references: Mapping[tuple[str, str], Sequence[str]],
) -> Item:
    if item.kind is Kind.damaged:
        return item
    training = training_of(item.path) if item.kind is Kind.stem else None
    reference = item.reference if training is None else (training.parent.name, training.name)
    is_lost = item.kind is Kind.partial
    if item.kind is Kind.stem:
        is_lost = "/".join(reference) not in finished
    is_held = training is not None and Lock(lock_of(training)).holder() is not None
    user = using.get(f"{item.stage}/{item.hash}", "") if item.kind is not Kind.partial else ""
    return replace(
        item,
        holder=item.holder or user,
        runs=tuple(references.get(reference, ())),
        is_abandoned=is_lost and not item.holder and not user and not is_held,
    )


def _folders(stage: Path, now: float) -> Iterator[Item]:
    for path in stage.iterdir():
        try:
            if path.is_dir():
                yield _folder(path, now)
        except FileNotFoundError:  # pruned, or finished, while we were looking
            continue


def _folder(path: Path, now: float) -> Item:
    state = path.stat()
    used = state.st_mtime
    kind = Kind.stem if is_stem(path) else Kind.finished
    made = used
    if is_damaged(path):
        kind = Kind.damaged
    elif is_partial(path):
        kind = Kind.partial
        used = max((file.stat().st_mtime for file in path.iterdir()), default=used)
    if (path / MANIFEST).exists():
        made = (path / MANIFEST).stat().st_mtime
    holder = None if kind is Kind.damaged else Lock(lock_of(entry_of(path))).holder()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    text = "" if holder is None else str(holder)
    age, idle = max(now - made, 0.0), max(now - used, 0.0)
    return Item(path, kind, size, age, idle, state.st_mtime_ns, text)


def _decoded(folder: Path, now: float) -> Iterator[Item]:
    """Images in memory come from one file for each split; what is being written ends in .tmp."""
    kinds = {
        _DECODED_SUFFIX: Kind.decoded,
        _DECODED_DAMAGED: Kind.damaged,
        ".tmp": Kind.partial,
    }
    for path in folder.iterdir():
        if (kind := kinds.get(path.suffix)) is None:
            continue
        try:
            state = os.stat(path)  # noqa: PTH116  the same for a file that is gone by now
        except FileNotFoundError:
            continue
        used = max(state.st_mtime, state.st_atime)
        age, idle = max(now - state.st_mtime, 0.0), max(now - used, 0.0)
        is_written = kind is Kind.partial and age < WRITING_SECONDS
        holder = "a process that is writing it" if is_written else ""
        yield Item(path, kind, state.st_size, age, idle, state.st_mtime_ns, holder)
