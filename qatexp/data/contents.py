"""Hash the content of many image files, and read again only what may have changed.

An index holds, for each folder with images, a hash of the names, sizes and times of its files, and
one of their content. As long as the first stays the same, the second is not computed anew. The
times include that of the last change of a file's state (ctime), which no program can set: a file
that was changed in place is noticed even where its size and modification time are as before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qatexp.errors import DataError, StoreError
from qatexp.store.atomic import ensure_folder
from qatexp.store.checked import read_checked, write_checked

_log = logging.getLogger(__name__)

LAYOUT = 2
"""Of the index; another one is not read."""
QUIET_SECONDS = 2.0
"""Coarsest times of a file system. A file that was changed so shortly before it was read may be
changed again without another time, so that its folder is not trusted yet."""
NAMED = 5
"""Files that a message names; of more it tells the number."""
THREADS = 8
"""Folders at a time: what takes long is waiting for disks and servers."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """Files of one folder, in the order in which they are given."""

    path: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """What the index holds of a folder."""

    listing: str
    content: str


@dataclass(frozen=True, slots=True)
class _Listing:
    """Names, sizes and times of a folder's files."""

    digest: str
    newest: float
    """Time of the last change (Unix time)."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What reading a folder's files has found."""

    digest: str
    problems: tuple[str, ...]


ProblemOf = Callable[[str], str | None]
"""Says in a sentence what is wrong with the file of a path; None: nothing."""


def contents_digest(
    files: Iterable[tuple[str, int]],
    *,
    root: str,
    index: Path | None,
    problem_of: ProblemOf | None = None,
) -> str:
    """Hash names below a folder, labels and content of files, in their order.

    The same files somewhere else have the same hash.

    Args:
        files: path and label of each; the paths begin with `root`.
        root: the folder that they are in.
        index: folder of the index; None reads all files.
        problem_of: asked of every file that is read; None: any content will do.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: files cannot be read, or have a problem; the first of them are named.
    """
    listed = [(*os.path.split(path), label) for path, label in files]
    names: dict[str, list[str]] = {}
    for folder, name, _ in listed:
        names.setdefault(folder, []).append(name)
    folders = [_Folder(path, tuple(found)) for path, found in names.items()]
    path = None if index is None else index / _index_name(root)
    rows = _rows(folders, path, root, problem_of)
    content = [
        [os.path.relpath(folder.path, root).replace(os.sep, "/"), rows[folder.path].content]
        for folder in folders
    ]
    labels = [label for _, _, label in listed]
    return hashlib.sha256(json.dumps([content, labels]).encode()).hexdigest()


def _rows(
    folders: Sequence[_Folder], index: Path | None, root: str, problem_of: ProblemOf | None
) -> dict[str, _Row]:
    known = {} if index is None else _read_index(index)
    started = time.time()
    with ThreadPoolExecutor(THREADS) as pool:
        listings = dict(
            zip((folder.path for folder in folders), pool.map(_listing, folders), strict=True)
        )
        changed = [f for f in folders if not _is_known(known.get(f.path), listings[f.path])]
        if changed:
            count = sum(len(folder.names) for folder in changed)
            _log.info("reading %d files in %s, whose content is not known yet", count, root)
        read = dict(
            zip(
                (folder.path for folder in changed),
                pool.map(partial(_content, problem_of=problem_of), changed),
                strict=True,
            )
        )
    _refuse([problem for content in read.values() for problem in content.problems])
    found = {
        path: _Row(listing.digest, read[path].digest) if path in read else known[path]
        for path, listing in listings.items()
    }
    if index is not None and changed:
        quiet = {
            path: row
            for path, row in found.items()
            if path not in read or listings[path].newest < started - QUIET_SECONDS
        }
        _write_index(index, quiet)
    return found


def _is_known(row: _Row | None, listing: _Listing) -> bool:
    return row is not None and row.listing == listing.digest


def _listing(folder: _Folder) -> _Listing:
    digest, newest = hashlib.sha256(), 0.0
    for name in folder.names:
        path = os.path.join(folder.path, name)  # noqa: PTH118  Path objects double the time
        try:
            state = os.stat(path)  # noqa: PTH116  the same
        except OSError as problem:
            raise _unreadable(path, problem) from problem
        times = f"{state.st_mtime_ns}\0{state.st_ctime_ns}"
        digest.update(f"{name}\0{state.st_size}\0{times}\n".encode(errors="surrogateescape"))
        newest = max(newest, state.st_mtime, state.st_ctime)
    return _Listing(digest.hexdigest(), newest)


def _refuse(problems: Sequence[str]) -> None:
    """Raise for files that are no images, before anything has been computed on the others."""
    if not problems:
        return
    named, further = problems[:NAMED], len(problems) - NAMED
    others = f" {further} further files cannot either." if further > 0 else ""
    pronoun = "it" if len(problems) == 1 else "them"
    raise DataError(f"{' '.join(named)}{others} Replace or remove {pronoun}.")


def _content(folder: _Folder, problem_of: ProblemOf | None) -> _Content:
    digest, problems = hashlib.sha256(), []
    for name in folder.names:
        path = os.path.join(folder.path, name)  # noqa: PTH118  see above
        try:
            with open(path, "rb") as file:  # noqa: PTH123  see above
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as problem:
            raise _unreadable(path, problem) from problem
        digest.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
        if problem_of is not None and (found := problem_of(path)) is not None:
            problems.append(found)
    return _Content(digest.hexdigest(), tuple(problems))


def _unreadable(path: str, problem: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {problem.strerror}; replace or remove it.")


def _index_name(root: str) -> str:
    place = hashlib.sha256(os.path.realpath(root).encode(errors="surrogateescape"))
    return f"contents-{place.hexdigest()[:16]}.index"


def _read_index(path: Path) -> dict[str, _Row]:
    """Read an index; one that is missing or damaged costs only time."""
    if not path.exists():
        return {}
    try:
        found = json.loads(read_checked(path))
        if found["layout"] != LAYOUT:
            return {}
        return {folder: _Row(*row) for folder, row in found["folders"].items()}
    except (StoreError, ValueError, KeyError, TypeError) as problem:
        _log.info("%s cannot be used, so the content of all files is read: %s", path, problem)
        return {}


def _write_index(path: Path, rows: Mapping[str, _Row]) -> None:
    folders = {folder: [row.listing, row.content] for folder, row in rows.items()}
    try:
        ensure_folder(path.parent)
        write_checked(path, json.dumps({"layout": LAYOUT, "folders": folders}).encode())
    except StoreError as problem:
        _log.info("the next run reads the content of all files again: %s", problem)
