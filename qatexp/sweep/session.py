"""One sweep from its first trial to its comparison, with a parent run in MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.compare import Sweep, collect, print_comparison, write_comparison
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import QatexpError, StoreError
from qatexp.figures.trials import deployable
from qatexp.records import PROCESS_STAGE
from qatexp.records.plan import SweepPlan, load_plan
from qatexp.store.heartbeat import EXPIRY_SECONDS
from qatexp.store.lock import Lock
from qatexp.sweep.best import settle_best, sweep_note
from qatexp.sweep.effort import effort
from qatexp.sweep.planning import plan_lock, write_plan
from qatexp.sweep.resume import is_finished, search_is_done, united
from qatexp.sweep.search.workers import has_workers
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
    lock: Lock | None = None
    """Held while this process works on the folder; None where others may join it in a search."""
    known_run: str | None = None
    """The parent run of a sweep that goes on, or has ended."""
    elsewhere: frozenset[str] = frozenset()
    """Names of trials that other processes run, which will close the sweep."""
    epilogue: Callable[[Console], None] | None = None
    """Prints what a search has found, behind the comparison."""
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
        if self.epilogue is not None:
            self.epilogue(console)
        if self.elsewhere:
            names = ", ".join(sorted(self.elsewhere, key=int))
            console.print(f"Still running in other processes, which close the sweep: {names}")
        else:
            self._close(sweep, files, best)
            with suppress(StoreError), plan_lock(self.folder):  # of another sweeper, without a plan
                write_plan(replace(load_plan(self.folder), has_ended=True), self.folder)
        if self.run_id is not None:
            console.print(ui_hint(), soft_wrap=True)
        self._leave()
        failed = [trial for trial in sweep.others if trial.name not in self.elsewhere]
        return 1 if failed else 0

    def _leave(self) -> None:
        _open.remove(self)
        if self.lock is not None:
            self.lock.release()

    def _tell_of_effort(self, sweep: Sweep, console: Console) -> None:
        if self.left is not None and not self.left:
            if not self.elsewhere:
                text = "All trials were finished already; sweep.resume=never runs them anew."
                console.print(text)
            return
        ran = {trial.name for trial in sweep.trials} if self.left is None else self.left
        if line := effort(sweep, ran, time.monotonic() - self.started):
            console.print(line, soft_wrap=True)

    def abandon(self) -> None:
        """Compare what a sweep that was cut off has finished, and close its parent run.

        A search that other processes go on with is left to them.
        """
        self._leave()
        if has_workers(self.folder):
            log.info("other processes go on with the search in %s, and close it", self.folder)
            return
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
        for run_id in _killed_elsewhere(sweep):
            self.store.end_run(run_id)
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


def _killed_elsewhere(sweep: Sweep) -> list[str]:
    """MLflow runs of trials that could not end them: the launcher has written their records."""
    errors = [(record.mlflow_run_id, record.error or {}) for record in sweep.records]
    return [run for run, error in errors if run is not None and error.get("stage") == PROCESS_STAGE]


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
    lock = None if is_search else _locked(folder)
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
    session = SweepSession(config, folder, store, run_id, left, lock, known)
    _open.append(session)
    return session


def _known_parent(plan: SweepPlan | None, folder: Path) -> str | None:
    """The parent run; another process may have opened it since the plan was made."""
    if plan is None:
        return None
    with suppress(StoreError):
        return plan.mlflow_run_id or load_plan(folder).mlflow_run_id
    return plan.mlflow_run_id


def open_session() -> SweepSession:
    """The sweep of this process."""
    return _open[-1]


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
