"""The files of a stage cache: where entries lie, what lies beside them, and whether it is sound.

``<stage>/<fingerprint>/`` is a finished entry, ``<fingerprint>.partial/`` what a training leaves
while it works, ``.<fingerprint>.<any>/`` an entry on its way in or out, and
``<fingerprint>.damaged-<time>/`` one that was set aside. Each has its lock in
``<fingerprint>.lock``.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from qatexp.store.checked import checksum

MANIFEST = "manifest.json"
"""Checksums by file name; written last, so its time is when the entry was made."""
MAKER = "maker.json"
"""In a stem: of which training it was, and how long that is."""
CHECKPOINT = "checkpoint"
"""In a partial entry: the newest state of the training, with its checksum in front."""
_STEM = "_stem"
_PARTIAL, _LOCK, _DAMAGED = ".partial", ".lock", ".damaged-"


def partial_of(entry: Path) -> Path:
    """The folder of what a training leaves while it works."""
    return entry.with_suffix(_PARTIAL)


def lock_of(entry: Path) -> Path:
    """The lock file of an entry, and of all that lies beside it."""
    return entry.with_suffix(_LOCK)


def hidden_folder(entry: Path) -> Path:
    """Make a folder for an entry on its way in, as open to others as this process's files are."""
    folder = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)  # mkdtemp's are closed, and the entry keeps what it was made with
    return folder


def stem_stage(training: str) -> str:
    """The stage of a training's states that do not depend on its length."""
    return f"{training}{_STEM}"


def training_of(stem: Path) -> Path | None:
    """The entry of the training that left a stem; None where the stem does not tell."""
    try:
        maker = json.loads((stem / MAKER).read_text(encoding="utf-8"))
        stage = stem.parent.name.removesuffix(_STEM)
        return stem.parent.with_name(stage) / str(maker["training"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_stem(entry: Path) -> bool:
    """Whether an entry is the state of a training between two epochs."""
    return entry.parent.name.endswith(_STEM)


def entry_of(path: Path) -> Path:
    """The entry that a folder of a stage is, or belongs to."""
    name = path.name.lstrip(".").partition(".")[0]
    return path.with_name(name)


def is_partial(path: Path) -> bool:
    """Whether a folder holds what is not finished, or was to be deleted."""
    return path.name.startswith(".") or path.suffix == _PARTIAL


def is_damaged(path: Path) -> bool:
    """Whether a folder was set aside."""
    return _DAMAGED in path.name


def write_manifest(folder: Path) -> None:
    """Complete the files of an entry with their checksums."""
    sums = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def damage_of(entry: Path) -> list[str]:
    """Names of an entry's files that are not as they were written; reads all of them.

    Raises:
        OSError: a file is there and cannot be read: that says nothing against it.
    """
    try:
        sums = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        return [name for name, value in sums.items() if checksum(entry / name) != value]
    except (FileNotFoundError, ValueError, AttributeError) as problem:
        return [str(problem)]


def set_aside(entry: Path) -> Path:
    """Move a damaged entry out of the way, so that nothing is lost silently; returns where to."""
    aside = entry.with_name(f"{entry.name}{_DAMAGED}{time.time_ns()}")
    entry.rename(aside)
    return aside


def mark_used(entry: Path) -> None:
    """Let the time of an entry's folder say that it was used now."""
    with suppress(PermissionError):  # it was made by another user, and only its age is less exact
        os.utime(entry)
