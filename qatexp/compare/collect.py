"""Find the runs to compare: one run's folder, or a sweep's folder with its numbered trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from qatexp.errors import StoreError
from qatexp.records import CONFIG_FINGERPRINT, RECORD_FILE, Record, load_record
from qatexp.records.plan import load_plan

FINISHED, FAILED, RUNNING, UNREADABLE = "finished", "failed", "running", "unreadable"
INTERRUPTED, PRUNED = "interrupted", "pruned"
OUTDATED = "outdated"
"""Finished, and not what the sweep's plan asks for since the code or files have changed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep."""

    name: str
    """Its number in the sweep, behind the sweep's label where there are several; the folder's name
    for a single run."""
    folder: Path
    record: Record | None
    """None where there is no record, or none that can be read."""
    status: str
    """finished, failed, interrupted, skipped, pruned, running, outdated or unreadable."""
    problem: str = ""
    """Why there is nothing to compare, as the rest of a sentence; empty for a finished trial."""
    sweep: str = ""
    """Label of its sweep where several are compared."""
    overrides: tuple[str, ...] | None = None
    """Of its command line, where they are not in its folder."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The trials of one or several sweeps in the order of their numbers, or one run alone."""

    folder: Path
    trials: tuple[Trial, ...]
    is_single: bool
    """Whether `folder` is the folder of a run itself."""
    planned: int | None = None
    """Number of trials that the sweep is meant to have; None where nothing says so."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Folders, or sweeps of MLflow, by label where several are compared."""
    where: str = ""
    """The expression that chose these trials; empty where all are here."""
    left_out: int = 0
    """Number of trials that the expression left out."""
    shared: tuple[str, ...] = ()
    """Settings that differ between all trials, and that those which the expression chose have in
    common: ``W4A4``."""
    omitted: tuple[str, ...] = ()
    """What else was there, and is no result: ``2 reruns``."""
    baseline: Trial | None = None
    """The trial that all others are compared with; it need not be among `trials`."""

    @property
    def records(self) -> list[Record]:
        """Every record that can be read, of whatever status."""
        return [trial.record for trial in self.trials if trial.record is not None]

    @property
    def finished(self) -> list[tuple[Trial, Record]]:
        """The trials with figures to compare, each with its record."""
        return [(t, t.record) for t in self.trials if t.record is not None and not t.problem]

    @property
    def others(self) -> list[Trial]:
        """Trials without an end that counts: failed, interrupted, running, outdated, unreadable."""
        return [trial for trial in self.trials if trial.status not in (FINISHED, PRUNED)]

    @property
    def pruned(self) -> list[Trial]:
        """The trials that a search has ended as others dominate them; no failures."""
        return [trial for trial in self.trials if trial.status == PRUNED]


def collect(folder: Path) -> Sweep:
    """Read the record of a run, or the records of a sweep's trials.

    Args:
        folder: a run's folder (it has a ``record.json``) or a sweep's (it has numbered folders).

    Raises:
        StoreError: there is nothing to compare in it.
    """
    if (folder / RECORD_FILE).exists():
        return Sweep(folder, (read_trial(folder),), is_single=True)
    try:
        numbered = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError as problem:
        reason = problem.strerror or problem
        raise StoreError(f"nothing to compare in {folder}: {reason}") from problem
    if not numbered:
        raise StoreError(
            f"nothing to compare in {folder}: it has neither a {RECORD_FILE} nor numbered folders "
            f"of trials; give the folder of a run or of a sweep"
        )
    folders = sorted(numbered, key=lambda path: int(path.name))
    points = _planned(folder)
    trials = tuple(_as_planned(read_trial(path), points) for path in folders)
    return Sweep(folder, trials, is_single=False, planned=None if points is None else len(points))


def newest_sweep(multirun: Path) -> Path:
    """Find the newest sweep, or the newest single run if there was no sweep.

    Args:
        multirun: folder that runs write to; the dates in its folders' names tell their age.

    Raises:
        StoreError: nothing was run yet.
    """
    for kind in ("sweep", "single"):
        folders = (path for path in (multirun / kind).glob("[!.]*") if path.is_dir())
        newest = max(folders, key=lambda path: path.name, default=None)
        if newest is not None:
            return newest
    raise StoreError(f"no runs yet in {multirun}; start one with qatexp")


def _planned(folder: Path) -> dict[str, str] | None:
    """Fingerprints of the points of a sweep's plan, by name of the trial."""
    try:
        return {str(point.number): point.fingerprint for point in load_plan(folder).points}
    except StoreError:  # another sweeper chooses its points on its way
        return None


def _as_planned(trial: Trial, points: Mapping[str, str] | None) -> Trial:
    """A finished trial of other code or files than the plan's is none of its sweep any more."""
    record, planned = trial.record, (points or {}).get(trial.name)
    if record is None or trial.status != FINISHED or planned is None:
        return trial
    if record.fingerprints.get(CONFIG_FINGERPRINT, planned) == planned:
        return trial
    problem = "is of an earlier version of this point: code or files have changed since it ran"
    unmeasured = replace(record, status=OUTDATED, variants={}, parity=None)
    return replace(trial, record=unmeasured, status=OUTDATED, problem=problem)


def read_trial(folder: Path) -> Trial:
    """Read what a run has left in its folder, if it has."""
    name = folder.resolve().name
    if not (folder / RECORD_FILE).exists():
        return Trial(name, folder, None, UNREADABLE, f"left no {RECORD_FILE}")
    try:
        record = load_record(folder)
    except StoreError as problem:
        return Trial(name, folder, None, UNREADABLE, f"cannot be read: {problem}")
    return Trial(name, folder, record, record.status, _problem(record))


def _problem(record: Record) -> str:
    if record.status == FINISHED:
        return ""
    if record.status == RUNNING:
        return "has not finished: it is still running, or was killed"
    error = record.error or {}
    stage, kind = error.get("stage", "unknown stage"), error.get("kind", "error")
    if record.status == PRUNED:
        return f"was pruned in {stage} {error.get('message', '')}"
    if record.status == INTERRUPTED:
        return f"was interrupted in {stage}"
    return f"failed in {stage} ({kind}): {error.get('message', 'no message')}"
