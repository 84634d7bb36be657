"""Which runs depend on which entries, as their records and unfinished work tell."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qatexp.records import RECORD_FILE
from qatexp.store.uses import read_uses

_NO_RUNS = ("mlartifacts", "artifacts", "figures")
"""Folders below which no run has its own; that of MLflow holds copies of records."""
References = dict[tuple[str, str], tuple[str, ...]]


def references(folders: Sequence[Path], root: Path) -> References:
    """Runs by the stage and fingerprint of what they depend on.

    A run that was killed has no fingerprints in its record yet; what it used is known from the
    cache, and counts until the record says how the run, or another attempt at it, has ended.

    Args:
        folders: below which runs have theirs.
        root: `cache.dir`.
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for top in folders:
        for run, record in _records(top):
            prints = record.get("fingerprints")
            for stage, print_ in prints.items() if isinstance(prints, dict) else ():
                found[stage, str(print_)].append(_label(run, top))
    for use in read_uses(root):
        if use.run is None or (use.is_over and not is_unfinished(use.run)):
            continue
        label = _label_among(use.run, folders)
        for name in use.entries:
            stage, _, print_ = name.partition("/")
            if label not in found[stage, print_]:
                found[stage, print_].append(label)
    return {key: tuple(sorted(runs)) for key, runs in found.items() if runs}


def is_unfinished(run: Path) -> bool:
    """Whether the last attempt at a run has neither finished nor failed."""
    return _read(run / RECORD_FILE).get("status") == "running"


def _records(top: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder, below, files in os.walk(top):
        if RECORD_FILE in files:
            below.clear()
            yield Path(folder), _read(Path(folder) / RECORD_FILE)
        below[:] = sorted(n for n in below if n not in _NO_RUNS and not n.startswith("."))


def _read(path: Path) -> dict[str, Any]:
    """A record in its plain form: those of older versions name what they depend on, too."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _label(run: Path, top: Path) -> str:
    """Name a run as its folder below the one that was searched."""
    return run.name if run == top else str(run.relative_to(top))


def _label_among(run: Path, folders: Sequence[Path]) -> str:
    tops = [top.resolve() for top in folders if run.resolve().is_relative_to(top.resolve())]
    return _label(run.resolve(), tops[0]) if tops else str(run)
