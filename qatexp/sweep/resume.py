"""Which sweep a command goes on with, and which of its trials are finished."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from qatexp.config.suggestions import did_you_mean
from qatexp.errors import ConfigError, StoreError
from qatexp.records import CONFIG_FINGERPRINT, PROCESS_STAGE, load_record
from qatexp.records.plan import PLAN_FILE, Point, Search, SweepPlan, load_plan

AUTO, NEVER = "auto", "never"
FINISHED = ("finished",)
ENDED = ("finished", "pruned")
"""What need not run again in a search."""
FAILED = ("failed",)


def resumed(plan: SweepPlan, *, resume: str, sweeps: Path) -> tuple[Path | None, SweepPlan]:
    """Find the sweep to go on with, and number the points as it did.

    Args:
        plan: what the command asks for, numbered from 0.
        resume: `sweep.resume`: auto, never, or the folder of a sweep.
        sweeps: the folder in which sweeps have theirs.

    Returns:
        The folder, None for a sweep of its own; and the plan, with points of that sweep that the
        command does not ask for left out.

    Raises:
        ConfigError: `resume` is a folder without a sweep.
    """
    if resume == NEVER:
        return None, plan
    if resume != AUTO:
        return Path(resume), _numbered(plan, earlier_plan(Path(resume)), Path(resume))
    for folder in sorted(sweeps.glob("[!.]*"), key=lambda path: path.name, reverse=True):
        earlier = readable_plan(folder)
        if earlier is not None and _is_asked_for(earlier, plan):
            return folder, _numbered(plan, earlier, folder)
    return None, plan


def in_folder(plan: SweepPlan, folder: Path, *, resume: str) -> SweepPlan:
    """Number the points for a folder that the user has chosen, and that may hold a sweep already.

    Raises:
        ConfigError: it holds one, and `resume` is never.
    """
    earlier = readable_plan(folder)
    if earlier is None:
        return plan
    if resume == NEVER:
        raise ConfigError(
            f"hydra.sweep.dir={folder} holds a sweep already, and sweep.resume=never starts a new "
            "one; give another folder, or sweep.resume=auto to add to it."
        )
    return _numbered(plan, earlier, folder)


def _is_asked_for(earlier: SweepPlan, plan: SweepPlan) -> bool:
    if plan.search is not None or earlier.search is not None:
        return _search_of(plan) == _search_of(earlier)
    wanted = plan.fingerprints
    return wanted in (earlier.fingerprints, frozenset(earlier.started_with))


def _search_of(plan: SweepPlan) -> str | None:
    return None if plan.search is None else plan.search.fingerprint


def is_finished(folder: Path, point: Point, *, statuses: Collection[str] = FINISHED) -> bool:
    """Whether the sweep in a folder has the record of this very point, and it is finished.

    Args:
        folder: of the sweep.
        point: one of its points.
        statuses: what counts as finished.
    """
    try:
        record = load_record(folder / str(point.number))
    except StoreError:
        return False
    return (
        record.status in statuses
        and record.fingerprints.get(CONFIG_FINGERPRINT) == point.fingerprint
    )


def has_failed(folder: Path, point: Point) -> bool:
    """Whether the sweep in a folder has the record of this very point, and it says why it failed.

    A process that was killed may have been so with its sweep, and says nothing about the point.
    """
    if not is_finished(folder, point, statuses=FAILED):
        return False
    error = load_record(folder / str(point.number)).error or {}
    return error.get("stage") != PROCESS_STAGE


def earlier_plan(folder: Path) -> SweepPlan:
    """The plan of the sweep in a folder.

    Raises:
        ConfigError: there is none.
    """
    try:
        return load_plan(folder)
    except StoreError as problem:
        reason = str(problem) if folder.is_dir() else "there is no such folder"
        raise ConfigError(
            f"sweep.resume={folder}: {reason}; allowed: auto, never, or the folder of a sweep, "
            f"which holds a {PLAN_FILE}{did_you_mean(str(folder), (AUTO, NEVER))}"
        ) from problem


def readable_plan(folder: Path) -> SweepPlan | None:
    """The plan of the sweep in a folder; None where there is none, or none that can be read."""
    try:
        return load_plan(folder)
    except StoreError:
        return None


def _numbered(plan: SweepPlan, earlier: SweepPlan, folder: Path) -> SweepPlan:
    if plan.search is not None or earlier.search is not None:
        return replace(earlier, search=_continued(plan.search, earlier.search, folder))
    numbers = {point.fingerprint: point.number for point in earlier.points}
    following = max(numbers.values(), default=-1) + 1
    points = []
    for point in plan.points:
        number = numbers.get(point.fingerprint)
        if number is None:
            number, following = following, following + 1
        points.append(replace(point, number=number))
    return replace(
        plan,
        overrides=earlier.overrides,
        points=tuple(points),
        mlflow_run_id=earlier.mlflow_run_id,
        started_with=earlier.started_with,
        has_ended=earlier.has_ended,
    )


def _continued(search: Search | None, earlier: Search | None, folder: Path) -> Search:
    """The search that goes on with another one; the number of its trials may be a new one.

    Raises:
        ConfigError: they are not about the same.
    """
    if search is None or earlier is None:
        held, asked = ("a grid", "a search") if earlier is None else ("a search", "a grid")
        raise ConfigError(
            f"{folder} holds {held}, and this command asks for {asked}; give another folder, or "
            "sweep.resume=auto without one."
        )
    for key in ("objectives", "space"):
        ours, theirs = getattr(search, key), getattr(earlier, key)
        if ours != theirs:
            raise ConfigError(
                f"{folder} holds a search with the {key} {' '.join(theirs)}, and this command has "
                f"{' '.join(ours)}; give the same, or sweep.resume=never for a search of its own."
            )
    return search


def search_is_done(folder: Path, plan: SweepPlan) -> bool:
    """Whether a sweep is a search that has as many finished trials as it is to have."""
    if plan.search is None:
        return False
    done = sum(is_finished(folder, point, statuses=ENDED) for point in plan.points)
    return done >= plan.search.n_trials


def united(plan: SweepPlan, earlier: Sequence[Point]) -> SweepPlan:
    """A plan with the points of an earlier one that it does not have, in the order of numbers.

    A point whose number the plan has given to another state of it, after a change of the code for
    instance, is not kept.
    """
    numbers = {point.number for point in plan.points}
    kept = [point for point in earlier if point.number not in numbers]
    return replace(plan, points=tuple(sorted((*plan.points, *kept), key=lambda p: p.number)))
