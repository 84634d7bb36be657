"""The launcher `local`: a fresh process for every trial, several at a time."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from qatexp.errors import ConfigError, StoreError
from qatexp.records import RECORD_FILE, Record, load_record
from qatexp.store.atomic import write_text
from qatexp.store.progress import read_progress
from qatexp.sweep.overview import Row, overview
from qatexp.sweep.processes import OUTPUT_FILE, PROGRESS_FILE, Job, Slot, jobs_of, start
from qatexp.sweep.slots import slots

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 20.0
"""How long trials may take to write their records after an interrupt."""


@dataclass
class _Running:
    job: Job
    slot: Slot
    process: subprocess.Popen[bytes]
    started: float


class LocalLauncher(Launcher):
    """Runs trials in processes of their own; results are taken from their records.

    Args:
        slots: trials at a time; None: one for each GPU, else one for every `trainer.threads` cores.
    """

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots
        self.config: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Take the sweep's configuration; called by Hydra."""
        del hydra_context, task_function  # a trial's process composes and runs by itself
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all trials, each as soon as a slot is free."""
        jobs = jobs_of(self.config, job_overrides, initial_job_idx)
        threads = self.config.trainer.threads
        try:
            free = slots(self.slots, device=str(self.config.device), threads=threads)
        except ConfigError as problem:
            raise SystemExit(f"qatexp: {problem}") from problem
        if len(free) > 1 and threads is None and free[0].gpu is None:
            log.warning(
                "trainer.threads=null: %d trials at a time share all cores and slow each other "
                "down; set trainer.threads",
                len(free),
            )
        pool = _Pool(self.config, jobs, free)
        log.info("%d trials, %d at a time", len(jobs), pool.neighbours + 1)
        with overview() as show:
            try:
                while pool.waiting or pool.running:
                    pool.start_waiting_()
                    pool.collect_ended_()
                    show(pool.rows(), len(pool.waiting))
                    time.sleep(POLL_SECONDS)
            finally:
                _stop(pool.running)
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=None) for _ in jobs]


class _Pool:
    """Trials that wait, and those that run, each in a slot."""

    def __init__(self, config: DictConfig, jobs: Sequence[Job], free: Sequence[Slot]) -> None:
        self.config, self.waiting, self.free = config, list(jobs), list(free)
        self.running: list[_Running] = []
        self.neighbours = min(len(free), len(jobs)) - 1
        self._settings = dict(zip(jobs, _settings(jobs), strict=True))

    def start_waiting_(self) -> None:
        """Start a trial in every free slot."""
        while self.waiting and self.free:
            job, slot = self.waiting.pop(0), self.free.pop(0)
            process = start(job, slot, self.config, neighbours=self.neighbours)
            log.info("trial %s starts: %s", job.folder.name, self._settings[job])
            self.running.append(_Running(job, slot, process, time.monotonic()))

    def collect_ended_(self) -> None:
        """Free the slots of trials that have ended, and say how they did."""
        for item in [item for item in self.running if item.process.poll() is not None]:
            self.running.remove(item)
            self.free.append(item.slot)
            _tell(item)

    def rows(self) -> list[Row]:
        """What to show of the running trials."""
        jobs = [item.job for item in self.running]
        progress = [read_progress(job.folder / PROGRESS_FILE) for job in jobs]
        return [
            Row(job.folder.name, self._settings[job], told)
            for job, told in zip(jobs, progress, strict=True)
        ]


def _settings(jobs: Sequence[Job]) -> list[str]:
    """The overrides in which trials differ: those that all have say nothing about one."""
    common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    texts = [[item for item in job.overrides if item not in common] for job in jobs]
    return [" ".join(own or job.overrides) for own, job in zip(texts, jobs, strict=True)]


def _stop(running: Sequence[_Running]) -> None:
    """Let trials that still run end as interrupted ones do; those that will not are killed."""
    for item in running:
        item.process.send_signal(signal.SIGTERM)
    limit = time.monotonic() + PATIENCE_SECONDS
    for item in running:
        try:
            item.process.wait(max(limit - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            item.process.kill()
            item.process.wait()
            _tell(item)


def _tell(item: _Running) -> None:
    """One line on a trial that has ended, and a record for one that could not write its own."""
    folder, seconds = item.job.folder, time.monotonic() - item.started
    record = _record(item)
    error = "" if record is None or record.error is None else f": {record.error['message']}"
    status = "left no record" if record is None else record.status
    log.info("trial %s %s after %.0f s%s", folder.name, status, seconds, error)


def _record(item: _Running) -> Record | None:
    try:
        record = load_record(item.job.folder)
    except StoreError:
        log.warning("see %s", item.job.folder / OUTPUT_FILE)
        return None
    if record.status != "running":
        return record
    code = item.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    message = f"its process {how}; see {OUTPUT_FILE}"
    error = {"stage": "process", "kind": "killed" if code < 0 else "exit", "message": message}
    record = replace(record, status="failed", error=error)
    write_text(item.job.folder / RECORD_FILE, record.to_json())
    return record
