"""One sweep from its first trial to its comparison, with a parent run in MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.compare import Sweep, collect, is_written, print_comparison, write_comparison
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import QatexpError, StoreError, TrackingError
from qatexp.machine.processes import seconds_since_start
from qatexp.records import PROCESS_STAGE, Record
from qatexp.records.plan import load_plan
from qatexp.results.comparable import by_data_set
from qatexp.results.trials import deployable
from qatexp.store.lock import Lock
from qatexp.sweep.best import settle_best, sweep_note
from qatexp.sweep.effort import effort
from qatexp.sweep.planning import plan_lock, write_plan
from qatexp.sweep.search.limits import KEY as CONSTRAINTS
from qatexp.sweep.search.limits import Limits
from qatexp.sweep.search.workers import has_workers
from qatexp.tracking import Store, ui_hint

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

_open: list[SweepSession] = []
"""The sweep of this process that has not ended yet: Hydra gives callbacks no end to rely on."""


@dataclass
class SweepSession:
    """A sweep that is running: what all kinds of them have in common."""

    config: ExperimentConfig
    """What its trials have in common."""
    folder: Path
    store: Store | None
    run_id: str | None
    known_run: str | None = None
    """The parent run of a sweep that goes on, or has ended."""
    left: frozenset[str] | None = None
    """Names of the trials that are, or were, this process's to run; None until that is known."""
    elsewhere: frozenset[str] = frozenset()
    """Names of trials that other processes run, which will close the sweep."""
    started: float = field(default_factory=time.monotonic)
    before: float = field(default_factory=seconds_since_start)
    """Seconds that the command took until the sweep was open."""

    def finish(self) -> int:
        """Compare what there is, close the parent run, and return the exit code."""
        from rich.console import Console

        sweep = collect(self.folder)
        files = [] if self._is_unchanged(sweep) else write_comparison(sweep, self.folder)
        parent = self.run_id or self.known_run
        best = settle_best(
            sweep, self.config, store=self.store, sweep_run=parent, objection=self._objection
        )
        seconds = time.monotonic() - self.started
        is_lost = False
        try:
            if not self.elsewhere:
                self._close(sweep, files, best, seconds)
        except TrackingError as problem:  # the comparison is written, and has to be told of
            is_lost = True
            log.warning("%s; the same command closes the sweep there", problem)
        if not self.elsewhere and not is_lost:
            with suppress(StoreError), plan_lock(self.folder):  # of another sweeper, without a plan
                write_plan(replace(load_plan(self.folder), has_ended=True), self.folder)
        self._leave()  # from here on nothing can be lost, whatever becomes of the terminal
        self._tell(sweep, best, seconds, Console())
        failed = [trial for trial in sweep.others if trial.name not in self.elsewhere]
        return 1 if failed or is_lost else 0

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

    def _is_unchanged(self, sweep: Sweep) -> bool:
        """Whether an earlier command has ended this sweep, and its comparison still holds."""
        nothing_ran = self.left is not None and not self.left
        return nothing_ran and self.store is None and is_written(sweep, self.folder)

    def _leave(self) -> None:
        _open.remove(self)

    def _tell(self, sweep: Sweep, best: Sequence[str], seconds: float, console: Console) -> None:
        """Print what the sweep has come to."""
        print_comparison(sweep, console)
        files = "compare.html, compare.md, compare.csv, pareto.png"
        console.print(f"Comparison in {self.folder}: {files}", soft_wrap=True)
        for line in best:
            console.print(line, soft_wrap=True, highlight=False)
        self._tell_of_effort(sweep, seconds, console)
        self._tell_more(console)
        if self.elsewhere:
            names = ", ".join(sorted(self.elsewhere, key=int))
            console.print(f"Still running in other processes, which close the sweep: {names}")
        if self.run_id is not None:
            console.print(ui_hint(), soft_wrap=True)

    def _tell_of_effort(self, sweep: Sweep, seconds: float, console: Console) -> None:
        if self.left is not None and not self.left:
            if not self.elsewhere:
                text = "All trials were finished already; sweep.resume=never runs them anew."
                console.print(text)
            return
        ran = {trial.name for trial in sweep.trials} if self.left is None else self.left
        if line := effort(sweep, ran, seconds=seconds, before=self.before):
            console.print(line, soft_wrap=True)

    def _tell_more(self, console: Console) -> None:
        """Print what only some sweeps have to say."""

    def _objection(self, record: Record) -> str:  # noqa: ARG002  that of a search depends on it
        """Why a trial may not be the best one; empty where it may."""
        return ""

    def _close(self, sweep: Sweep, files: list[Path], lines: Sequence[str], seconds: float) -> None:
        if self.store is None or self.run_id is None:
            return
        self.store.close_dead_runs()  # of trials whose processes were killed
        for run_id in _killed_elsewhere(sweep):
            self.store.end_run(run_id)
        metrics = {
            "trials": float(len(sweep.trials)),
            "failed": float(len(sweep.others)),
            "seconds": seconds,
        }
        finished = [record for _, record in sweep.finished]
        shipped = (deployable(record) for record in finished)
        best = [variant.deployed_top1 for variant in shipped if variant is not None]
        if best and len(by_data_set(finished)) == 1:
            metrics["best_deployed_top1"] = max(best)
        self.store.finish_sweep(
            self.run_id,
            status="FAILED" if sweep.others else "FINISHED",
            metrics=metrics,
            note=sweep_note(self.folder, lines),
            artifacts=files,
        )


@dataclass
class LockedSession(SweepSession):
    """A sweep whose folder this process has to itself: a grid, or one of another sweeper."""

    lock: Lock = field(kw_only=True)

    def _leave(self) -> None:
        super()._leave()
        self.lock.release()


@dataclass
class SearchSession(SweepSession):
    """A search, in which other processes may take part."""

    epilogue: Callable[[Console], None] | None = None
    """Prints what the search has found; None until its study is open."""
    limits: Limits = field(default_factory=lambda: Limits({}))
    """What its trials have to keep to be the best one."""

    def abandon(self) -> None:
        """Leave the search to the processes that go on with it; without any, end it as cut off."""
        if not has_workers(self.folder):
            super().abandon()
            return
        self._leave()
        log.info("other processes go on with the search in %s, and close it", self.folder)

    def _tell_more(self, console: Console) -> None:
        if self.epilogue is not None:
            self.epilogue(console)

    def _objection(self, record: Record) -> str:
        broken = self.limits.broken_by(record)
        return f"outside {CONSTRAINTS}" if broken else ""


def _killed_elsewhere(sweep: Sweep) -> list[str]:
    """MLflow runs of trials that could not end them: the launcher has written their records."""
    errors = [(record.mlflow_run_id, record.error or {}) for record in sweep.records]
    return [run for run, error in errors if run is not None and error.get("stage") == PROCESS_STAGE]


def enter(session: SweepSession) -> None:
    """Make a sweep the one of this process."""
    _open.append(session)


def open_session() -> SweepSession:
    """The sweep of this process."""
    return _open[-1]


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
