"""One sweep from its first trial to its comparison, with a parent run in MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import BaseFileLock, FileLock, Timeout

from qatexp.compare import Sweep, collect, print_comparison, write_comparison
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import QatexpError, StoreError
from qatexp.figures.trials import deployable
from qatexp.records.plan import SweepPlan, load_plan
from qatexp.sweep.best import settle_best, sweep_note
from qatexp.sweep.effort import effort
from qatexp.sweep.planning import write_plan
from qatexp.sweep.resume import is_finished, united
from qatexp.tracking import Store, open_store, ui_hint

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"

_open: list[SweepSession] = []
"""The sweep of this process that has not ended yet: Hydra gives callbacks no end to rely on."""


@dataclass
class SweepSession:
    """A sweep that is running."""

    config: ExperimentConfig
    """What its trials have in common."""
    folder: Path
    store: Store | None
    run_id: str | None
    left: frozenset[str] | None = None
    """Names of the trials to run; None where they are not known beforehand."""
    lock: BaseFileLock | None = None
    """Held while this process works on the folder."""
    known_run: str | None = None
    """The parent run of a sweep that goes on, or has ended."""
    started: float = field(default_factory=time.monotonic)

    def finish(self) -> int:
        """Compare what there is, close the parent run, and return the exit code."""
        from rich.console import Console

        sweep = collect(self.folder)
        files = write_comparison(sweep, self.folder)
        console = Console()
        print_comparison(sweep, console)
        files_text = "compare.html, compare.md, compare.csv, pareto.png"
        console.print(f"Comparison in {self.folder}: {files_text}", soft_wrap=True)
        parent = self.run_id or self.known_run
        best = settle_best(sweep, self.config, store=self.store, sweep_run=parent)
        for line in best:
            console.print(line, soft_wrap=True, highlight=False)
        self._tell_of_effort(sweep, console)
        self._close(sweep, files, best)
        with suppress(StoreError):  # of a sweep that another sweeper plans
            write_plan(replace(load_plan(self.folder), has_ended=True), self.folder)
        if self.run_id is not None:
            console.print(ui_hint(), soft_wrap=True)
        self._leave()
        return 1 if sweep.others else 0

    def _leave(self) -> None:
        _open.remove(self)
        if self.lock is not None:
            self.lock.release()

    def _tell_of_effort(self, sweep: Sweep, console: Console) -> None:
        if self.left is not None and not self.left:
            console.print("All trials were finished already; sweep.resume=never runs them anew.")
            return
        ran = {trial.name for trial in sweep.trials} if self.left is None else self.left
        if line := effort(sweep, ran, time.monotonic() - self.started):
            console.print(line, soft_wrap=True)

    def abandon(self) -> None:
        """Compare what a sweep that was cut off has finished, and close its parent run."""
        self._leave()
        files: list[Path] = []
        note = "This sweep was cut off."
        try:
            files = write_comparison(collect(self.folder), self.folder)
            note = sweep_note(self.folder, [note])
        except StoreError as problem:
            log.warning("%s", problem)
        finally:
            if self.store is not None and self.run_id is not None:
                self.store.close_dead_runs()
                self.store.finish_sweep(
                    self.run_id, status="KILLED", metrics={}, note=note, artifacts=files
                )

    def _close(self, sweep: Sweep, files: list[Path], lines: Sequence[str]) -> None:
        if self.store is None or self.run_id is None:
            return
        self.store.close_dead_runs()  # of trials whose processes were killed
        metrics = {
            "trials": float(len(sweep.trials)),
            "failed": float(len(sweep.others)),
            "seconds": time.monotonic() - self.started,
        }
        shipped = (deployable(record) for _, record in sweep.finished)
        best = [variant.deployed_top1 for variant in shipped if variant is not None]
        if best:
            metrics["best_deployed_top1"] = max(best)
        self.store.finish_sweep(
            self.run_id,
            status="FAILED" if sweep.others else "FINISHED",
            metrics=metrics,
            note=sweep_note(self.folder, lines),
            artifacts=files,
        )


def open_sweep(config: ExperimentConfig, folder: Path, plan: SweepPlan | None) -> SweepSession:
    """Start a sweep, or go on with one: its parent run is open before any trial starts.

    Args:
        config: what its trials have in common.
        folder: the sweep's; it exists.
        plan: its points, None where they are chosen on the way.

    Raises:
        QatexpError: the tracking store cannot be used, or the folder not be written to.
    """
    lock = _locked(folder)
    left = None if plan is None else _left(plan, folder)
    is_done = plan is not None and plan.has_ended and not left
    store = None
    if config.tracking.enabled and not is_done:
        store = open_store(config.tracking, home=Path.cwd())
        store.close_dead_runs()
    known = None if plan is None else plan.mlflow_run_id
    run_id = None if store is None else _parent_run(store, folder, known)
    if plan is not None and not is_done:
        _save(replace(plan, mlflow_run_id=run_id or known, has_ended=False), folder)
    session = SweepSession(config, folder, store, run_id, left, lock, known)
    _open.append(session)
    return session


def _locked(folder: Path) -> BaseFileLock:
    """Take the folder for this process; the system frees it when the process ends.

    Raises:
        StoreError: another process works on it.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as problem:
        raise StoreError(
            f"another process is running the sweep in {folder}; wait for it, or start one of your "
            "own with sweep.resume=never"
        ) from problem
    return lock


def _parent_run(store: Store, folder: Path, known: str | None) -> str:
    if known is not None and store.resume_sweep(known):
        return known
    return store.start_sweep(
        name=f"sweep {folder.name}",
        tags={"qatexp.folder": str(folder)},
        note="The sweep is running; its comparison appears here at the end.",
    )


def _left(plan: SweepPlan, folder: Path) -> frozenset[str]:
    """Names of the trials that are not finished."""
    left = (point for point in plan.points if not is_finished(folder, point))
    return frozenset(str(point.number) for point in left)


def _save(plan: SweepPlan, folder: Path) -> None:
    """Write the plan; points that an earlier command had, and this one has not, stay in it."""
    with suppress(StoreError):
        plan = united(plan, load_plan(folder).points)
    write_plan(plan, folder)


def finish_open_sweep() -> int:
    """Finish the sweep of this process; see `SweepSession.finish`."""
    return _open[-1].finish()


@contextmanager
def closing_open_sweep() -> Iterator[None]:
    """Close the parent run of a sweep that did not come to its end, whatever ended it."""
    try:
        yield
    finally:
        for session in list(_open):
            try:
                session.abandon()
            except QatexpError as problem:
                log.warning("%s", problem)
