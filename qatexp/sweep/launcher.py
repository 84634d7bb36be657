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

from qatexp.errors import StoreError
from qatexp.records import Record, load_record
from qatexp.sweep.processes import OUTPUT_FILE, Job, Slot, jobs_of, start
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
        waiting = jobs_of(self.config, job_overrides, initial_job_idx)
        trainer, device = self.config.trainer, str(self.config.device)
        free = slots(self.slots, device=device, threads=trainer.threads)
        if len(free) > 1 and trainer.threads is None and free[0].gpu is None:
            log.warning(
                "trainer.threads=null: %d trials at a time share all cores and slow each other "
                "down; set trainer.threads",
                len(free),
            )
        neighbours = min(len(free), len(waiting)) - 1
        log.info("%d trials, %d at a time", len(waiting), neighbours + 1)
        count, running = len(waiting), list[_Running]()
        try:
            while waiting or running:
                while waiting and free:
                    job, slot = waiting.pop(0), free.pop(0)
                    process = start(job, slot, self.config, neighbours=neighbours)
                    log.info("trial %s starts: %s", job.folder.name, " ".join(job.overrides))
                    running.append(_Running(job, slot, process, time.monotonic()))
                for item in [item for item in running if item.process.poll() is not None]:
                    running.remove(item)
                    free.append(item.slot)
                    _tell(item)
                time.sleep(POLL_SECONDS)
        finally:
            _stop(running)
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=None)] * count


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


def _tell(item: _Running) -> None:
    """One line on a trial that has ended, and a record for one that could not write its own."""
    folder, seconds = item.job.folder, time.monotonic() - item.started
    record = _record(item)
    error = "" if record is None or record.error is None else f": {record.error['message']}"
    status = "left no record" if record is None else record.status
    log.info("trial %s %s after %.0f s%s", folder.name, status, seconds, error)


def _record(item: _Running) -> Record | None:
    from qatexp.pipeline import write_record

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
    write_record(record, item.job.folder)
    return record
