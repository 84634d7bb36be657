"""Where a sweep starts, or goes on: its folder, its plan, and its parent run in MLflow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import StoreError
from qatexp.records.plan import SweepPlan, load_plan
from qatexp.store.heartbeat import EXPIRY_SECONDS
from qatexp.store.lock import Lock
from qatexp.sweep.planning import plan_lock, write_plan
from qatexp.sweep.resume import is_finished, search_is_done, united
from qatexp.sweep.session import LockedSession, SearchSession, SweepSession, enter
from qatexp.tracking import Store, open_store

LOCK_FILE = ".lock"


def open_sweep(config: ExperimentConfig, folder: Path, plan: SweepPlan | None) -> SweepSession:
    """Start a sweep, or go on with one: its parent run is open before any trial starts.

    Args:
        config: what its trials have in common.
        folder: the sweep's; it exists.
        plan: its points, None where they are chosen on the way.

    Raises:
        QatexpError: the tracking store cannot be used, or the folder not be written to.
    """
    is_search = plan is not None and plan.search is not None
    make = SearchSession if is_search else partial(LockedSession, lock=_locked(folder))
    left = None if plan is None else _left(plan, folder)
    is_done = plan is not None and plan.has_ended and not left and left is not None
    store = None
    if config.tracking.enabled and not is_done:
        store = open_store(config.tracking, home=Path.cwd())
        store.close_dead_runs()
    with plan_lock(folder):
        known = _known_parent(plan, folder)
        run_id = None if store is None else _parent_run(store, folder, known)
        if plan is not None and not is_done:
            _save(replace(plan, mlflow_run_id=run_id or known, has_ended=False), folder)
    session = make(config, folder, store, run_id, known, left)
    enter(session)
    return session


def _known_parent(plan: SweepPlan | None, folder: Path) -> str | None:
    """The parent run; another process may have opened it since the plan was made."""
    if plan is None:
        return None
    with suppress(StoreError):
        return plan.mlflow_run_id or load_plan(folder).mlflow_run_id
    return plan.mlflow_run_id


def _locked(folder: Path) -> Lock:
    """Take the folder for this process; it is free again when the process has ended.

    Raises:
        StoreError: another process works on it, or it cannot be written to.
    """
    lock = Lock(folder / LOCK_FILE)
    try:
        holder = lock.try_acquire()
    except OSError as problem:
        raise StoreError(f"cannot write to {folder}: {problem.strerror or problem}") from problem
    if holder is not None:
        raise StoreError(
            f"another process is running the sweep in {folder} ({holder}); wait for it, or start "
            "one of your own with sweep.resume=never. If that host has crashed, its lock expires "
            f"{EXPIRY_SECONDS:.0f} s after it was last renewed"
        )
    return lock


def _parent_run(store: Store, folder: Path, known: str | None) -> str:
    if known is not None and store.resume_sweep(known):
        return known
    return store.start_sweep(
        name=f"sweep {folder.name}",
        tags={"qatexp.folder": str(folder)},
        note="The sweep is running; its comparison appears here at the end.",
    )


def _left(plan: SweepPlan, folder: Path) -> frozenset[str] | None:
    """Names of the trials that are not finished; None for a search that has not found them yet."""
    if plan.search is not None:
        return frozenset() if search_is_done(folder, plan) else None
    left = (point for point in plan.points if not is_finished(folder, point))
    return frozenset(str(point.number) for point in left)


def _save(plan: SweepPlan, folder: Path) -> None:
    """Write the plan; points that an earlier command had, and this one has not, stay in it."""
    with suppress(StoreError):
        plan = united(plan, load_plan(folder).points)
    write_plan(plan, folder)
