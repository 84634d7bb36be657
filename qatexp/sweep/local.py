"""The launcher `local`: this machine, with a GPU or cores of its own for every trial."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from qatexp.sweep.endings import Ending
from qatexp.sweep.launcher import TrialLauncher
from qatexp.sweep.processes import Job, command_of, prepare, start
from qatexp.sweep.slots import Slot, slots

log = logging.getLogger(__name__)


class LocalLauncher(TrialLauncher):
    """Runs trials on this machine.

    Args:
        slots: trials at a time; None: one for each GPU, else one for every `trainer.threads` cores.
    """

    def __init__(self, slots: int | None = None) -> None:
        super().__init__()
        self.slots = slots

    @contextmanager
    def place(self, jobs: Sequence[Job]) -> Iterator[Machine]:
        """Divide the machine into slots.

        Raises:
            ConfigError: there are none, or a GPU is asked for by its number.
        """
        threads = self.config.trainer.threads
        free = slots(self.slots, device=str(self.config.device), threads=threads)
        if len(free) > 1 and threads is None and free[0].gpu is None:
            log.warning(
                "trainer.threads=null: %d trials at a time share all cores and slow each other "
                "down; set trainer.threads",
                len(free),
            )
        at_a_time = min(len(free), len(jobs))
        log.info("%d trials, %d at a time", len(jobs), at_a_time)
        yield Machine(self.config, free, neighbours=at_a_time - 1)


@dataclass(frozen=True, slots=True)
class LocalAttempt:
    """The process of a trial on this machine."""

    job: Job
    slot: Slot
    process: subprocess.Popen[bytes]

    def ended(self) -> Ending | None:
        """Look at the process."""
        code = self.process.poll()
        return None if code is None else Ending(code)

    def stop(self) -> None:
        """Send SIGTERM, on which a run writes its record."""
        self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL, and wait for it."""
        self.process.kill()
        self.process.wait()


class Machine:
    """The slots of this machine, and who has them."""

    look_seconds = 0.1

    def __init__(self, config: DictConfig, free: Sequence[Slot], *, neighbours: int) -> None:
        self._config, self._slots, self._neighbours = config, list(free), neighbours
        self._attempts: list[LocalAttempt] = []

    def start(self, waiting: Sequence[Job]) -> Sequence[LocalAttempt]:
        """Start a trial in every free slot."""
        self._attempts = [item for item in self._attempts if item.ended() is None]
        busy = [item.slot for item in self._attempts]
        free = [slot for slot in self._slots if slot not in busy]
        started = [self._start(*pair) for pair in zip(waiting, free, strict=False)]
        self._attempts += started
        return started

    def _start(self, job: Job, slot: Slot) -> LocalAttempt:
        prepare(job)
        gpu = {} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}
        process = start(command_of(job, self._config, neighbours=self._neighbours), **gpu)
        if slot.cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, slot.cores)
        return LocalAttempt(job, slot, process)
