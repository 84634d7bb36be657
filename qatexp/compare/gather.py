"""Several sweeps and runs as one: every trial is labelled by the sweep that it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from string import ascii_uppercase

from qatexp.compare.collect import Sweep, Trial, collect
from qatexp.errors import ConfigError

_LONGEST_LABEL = 12
"""Characters of a folder's name from which a letter stands for it: tables have little room."""


def gather(folders: Sequence[Path], *, home: Path) -> Sweep:
    """Collect the trials of all folders.

    Args:
        folders: of sweeps or runs, at least one.
        home: the folder that runs write to; a comparison of several folders belongs to a new
            one in ``compare/`` below it, which is not yet created.

    Raises:
        ConfigError: a folder is given twice.
        StoreError: there is nothing to compare in one of them.
    """
    twice = [str(path) for path, n in Counter(map(Path.resolve, folders)).items() if n > 1]
    if twice:
        raise ConfigError(f"FOLDER={twice[0]} is given twice; name every sweep once.")
    sweeps = [collect(folder) for folder in folders]
    if len(sweeps) == 1:
        return sweeps[0]
    labelled = list(zip(_labels(folders), sweeps, strict=True))
    trials = [_labelled(trial, label, sweep) for label, sweep in labelled for trial in sweep.trials]
    return Sweep(
        folder=new_folder(home),
        trials=tuple(trials),
        is_single=False,
        planned=_planned(sweeps),
        sources={label: str(sweep.folder) for label, sweep in labelled},
    )


def new_folder(home: Path) -> Path:
    """Where a comparison goes that belongs to no single folder; it is not created."""
    return home / "compare" / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def letters(count: int) -> list[str]:
    """A, B, C: labels that take little room in a table."""
    return [ascii_uppercase[i] if i < len(ascii_uppercase) else f"S{i + 1}" for i in range(count)]


def _labelled(trial: Trial, label: str, sweep: Sweep) -> Trial:
    name = label if sweep.is_single else f"{label}/{trial.name}"
    return replace(trial, name=name, sweep=label)


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names where these are short and differ; else A, B, C."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) == len(names) and max(map(len, names)) <= _LONGEST_LABEL:
        return names
    return letters(len(folders))


def _planned(sweeps: Sequence[Sweep]) -> int | None:
    planned = [1 if sweep.is_single else sweep.planned for sweep in sweeps]
    known = [number for number in planned if number is not None]
    return sum(known) if len(known) == len(planned) else None
