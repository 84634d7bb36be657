"""One trial as a cluster carries it: a picklable call that starts its process, and waits for it.

Hydra imports this module for every command, `--help` too: what a trial needs is imported there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from qatexp.config.variables import PARENT_RUN, SWEEP_STARTED
from qatexp.store.heartbeat import Owner
from qatexp.store.lock import Lock
from qatexp.store.progress import Progress, ProgressFile
from qatexp.sweep.endings import Ending, status_of
from qatexp.sweep.launcher import PATIENCE_SECONDS
from qatexp.sweep.processes import OUTPUT_FILE, PROGRESS_FILE, Command, Job, command_of, start
from qatexp.sweep.trial import is_done

LOCK_FILE = ".trial.lock"
POLL_SECONDS = 0.2
_SEARCH_PATH = "PYTHONPATH"
_REQUEUE = "SIGUSR2"
"""By which submitit takes a job off its machine, to queue it again."""


@dataclass(frozen=True, slots=True)
class RemoteTrial:
    """Runs a trial in a process of its own, in the machine and the environment of the caller.

    One that an earlier command has left running, or waiting in a queue, holds a lock in the
    folder: the later one waits for it, and does nothing where it has finished.
    """

    command: Command
    gpus: float
    """As they were asked for; without any, the trial shall not take one either."""
    stopped_with_job: bool = False
    """Whether the cluster itself sends every process of a job the signals that end it."""

    def __call__(self) -> Ending:
        """Run the trial to its end; called by the cluster."""
        from qatexp.tracking import sigterm_raises

        folder, host = Path(self.command.folder), socket.gethostname()
        for path in (Path(self.command.home), folder):
            if not path.is_dir():
                text = f"{host} has no folder {path}: all machines need the project's folder, under"
                return Ending(None, problem=f"{text} the same path (a shared file system)")
        try:
            with sigterm_raises(), Lock(folder / LOCK_FILE, on_wait=self._tell_of):
                return self._run(folder)
        except OSError as problem:
            return Ending(None, problem=f"its process cannot be started on {host}: {problem}")

    def checkpoint(self) -> Any:
        """The job to queue again after a time limit or a preemption; called by submitit.

        The trial goes on after the last checkpoint of its training.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _tell_of(self, holder: Owner) -> None:
        """Say in the trial's output for whom it waits; its progress is the other one's to tell."""
        with (Path(self.command.folder) / OUTPUT_FILE).open("a", encoding="utf-8") as output:
            output.write(f"waiting for the same trial, which is run by {holder}\n")

    def _run(self, folder: Path) -> Ending:
        if is_done(folder):
            return Ending(0, status_of(folder))
        ProgressFile(folder / PROGRESS_FILE).tell(Progress("starting", time.time()))
        with _without_requeue():
            process = start(self.command, **self._variables())
        try:
            # Ray's cancellation interrupts Python code, and no system call.
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
        finally:
            self._end(process)
        return Ending(process.returncode, status_of(folder))

    def _variables(self) -> dict[str, str]:
        found = {} if self.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        # What the cluster has added for its workers counts beside what was handed on.
        paths = [self.command.environment.get(_SEARCH_PATH), os.environ.get(_SEARCH_PATH)]
        joined = os.pathsep.join(path for path in paths if path)
        return {**found, _SEARCH_PATH: joined} if joined else found

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Let a trial that still runs write its record."""
        if process.poll() is not None:
            return
        if not self.stopped_with_job:
            process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_trial(trial: RemoteTrial) -> Ending:
    """Run a trial to its end, as a function that clusters find by its name."""
    return trial()


@contextmanager
def _without_requeue() -> Iterator[None]:
    """Have the process that is started inside never get the signal that is meant for this one."""
    signals = {getattr(signal, _REQUEUE)}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def remote_command(
    job: Job, config: DictConfig, *, neighbours: int, handed_on: tuple[str, ...] = ()
) -> Command:
    """The command of a trial for a machine that does not have this one's environment.

    Args:
        job: the trial.
        config: of the sweep.
        neighbours: how many other trials may run on the same machine at the same time.
        handed_on: beginnings of the names of variables that go with it.
    """
    found = command_of(job, config, neighbours=neighbours)
    names = (PARENT_RUN, SWEEP_STARTED, *handed_on)
    own = {name: value for name, value in os.environ.items() if name.startswith(names)}
    return Command(found.arguments, found.folder, found.home, {**own, **found.environment})
