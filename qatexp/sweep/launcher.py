"""What all launchers share: trials are started, watched, and told of, wherever they run."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from qatexp.config.composer import PointComposer
from qatexp.config.parse import flat_params
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import QatexpError
from qatexp.records import Record
from qatexp.store.progress import read_progress
from qatexp.sweep.endings import Ending, settled
from qatexp.sweep.overview import Row, overview
from qatexp.sweep.processes import PROGRESS_FILE, Job, jobs_of
from qatexp.sweep.trial import apart

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""How long trials may take to write their records after an interrupt."""


class Attempt(Protocol):
    """One trial that was handed over to be run."""

    @property
    def job(self) -> Job:
        """The trial."""

    def ended(self) -> Ending | None:
        """How its process ended; None while it waits or runs."""

    def stop(self) -> None:
        """Ask it to end as an interrupted run does."""

    def kill(self) -> None:
        """End it at once."""


class Place(Protocol):
    """Where trials run."""

    look_seconds: float
    """Time between two looks at the attempts."""

    def start(self, waiting: Sequence[Job]) -> Sequence[Attempt]:
        """Hand over as many trials as there is room for now."""


class TrialLauncher(Launcher):
    """Runs every trial in a fresh process; results are taken from the trials' records alone."""

    queues = False
    """Whether trials that were handed over may have to wait elsewhere."""

    def __init__(self) -> None:
        self.config: Any = None
        self._context: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Take the sweep's configuration; called by Hydra."""
        del task_function  # a trial's process composes and runs by itself
        self.config, self._context = config, hydra_context

    def check(self, config: ExperimentConfig) -> None:
        """Check, before anything is started, that it can run such trials.

        Raises:
            ConfigError: it cannot.
        """

    @abstractmethod
    def place(self, jobs: Sequence[Job]) -> AbstractContextManager[Place]:
        """Open the place where trials run.

        Raises:
            QatexpError: it cannot be used.
        """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all trials, each as soon as there is room for it."""
        try:
            jobs = jobs_of(self.config, job_overrides, initial_job_idx, compose=self._composer())
            with self.place(jobs) as place:
                self._run(place, jobs)
        except QatexpError as problem:
            raise SystemExit(f"qatexp: {problem}") from problem
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=None) for _ in jobs]

    def _composer(self) -> Callable[[Sequence[str]], ExperimentConfig]:
        loader = self._context.config_loader
        return PointComposer(lambda own: loader.load_sweep_config(self.config, list(own))).config

    def _run(self, place: Place, jobs: Sequence[Job]) -> None:
        watch = _Watch(jobs, queues=self.queues)
        with overview() as show:
            try:
                while watch.waiting or watch.running:
                    watch.add(place.start(watch.waiting))
                    watch.collect()
                    show(*watch.rows())
                    time.sleep(place.look_seconds)
            finally:
                watch.stop()


@dataclass(frozen=True, slots=True)
class _Running:
    attempt: Attempt
    started: float


class _Watch:
    """Trials that wait, and those that were handed over and have not ended yet."""

    def __init__(self, jobs: Sequence[Job], *, queues: bool) -> None:
        self.waiting = list(jobs)
        self.running: list[_Running] = []
        self._settings = dict(zip(jobs, _settings(jobs), strict=True))
        self._queues = queues
        self._is_stopping = False

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Watch trials that were taken from those that wait."""
        verb = "queued" if self._queues else "starts"
        for attempt in attempts:
            self.waiting.remove(attempt.job)
            self.running.append(_Running(attempt, time.monotonic()))
            log.info("trial %s %s: %s", attempt.job.folder.name, verb, self._settings[attempt.job])

    def collect(self) -> None:
        """Say how those did that have ended."""
        for item in list(self.running):
            ending = item.attempt.ended()
            if ending is not None:
                self.running.remove(item)
                self._tell(item, ending)

    def rows(self) -> tuple[list[Row], int]:
        """What to show of the running trials, and how many wait."""
        rows = [
            Row(job.folder.name, self._settings[job], read_progress(job.folder / PROGRESS_FILE))
            for job in (item.attempt.job for item in self.running)
        ]
        # A trial that runs elsewhere tells so itself; before, it stands in a queue.
        shown = [row for row in rows if row.progress is not None or not self._queues]
        return shown, len(self.waiting) + len(rows) - len(shown)

    def stop(self) -> None:
        """Let trials that still run end as interrupted ones do; those that will not are killed."""
        self._is_stopping = True
        for item in self.running:
            item.attempt.stop()
        limit = time.monotonic() + PATIENCE_SECONDS
        while self.running and time.monotonic() < limit:
            self.collect()
            time.sleep(0.1)
        for item in self.running:
            item.attempt.kill()
            self._tell(item, item.attempt.ended() or Ending(None))

    def _tell(self, item: _Running, ending: Ending) -> None:
        """One line on a trial that has ended."""
        job, seconds = item.attempt.job, time.monotonic() - item.started
        started = not self._queues or (job.folder / PROGRESS_FILE).exists()
        if not started and self._is_stopping:
            return  # it stood in a queue, and is as it was before
        ending = replace(ending, started=started or ending.code is not None)
        record = settled(job.folder, ending, lambda: _new_record(job))
        error = "" if record.error is None else f": {record.error['message']}"
        log.info("trial %s %s after %.0f s%s", job.folder.name, record.status, seconds, error)


def _new_record(job: Job) -> Record:
    """The record of a trial whose process did not come so far as to write one."""
    return Record(name=job.config.name, status="running", params=flat_params(job.config))


def _settings(jobs: Sequence[Job]) -> list[str]:
    """The overrides in which trials differ: those that all have say nothing about one."""
    return [" ".join(own) for own in apart([job.overrides for job in jobs])]
