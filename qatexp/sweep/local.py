"""The launcher `local`: this machine, with a GPU or cores of its own for every trial."""

from __future__ import annotations

import logging
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from qatexp.config.schema import ExperimentConfig
from qatexp.results.units import counted
from qatexp.sweep.endings import Ending
from qatexp.sweep.launcher import TrialLauncher
from qatexp.sweep.processes import Job, command_of, prepare, start
from qatexp.sweep.slots import Slot, check_slots, slots

log = logging.getLogger(__name__)


class LocalLauncher(TrialLauncher):
    """Runs trials on this machine.

    Args:
        slots: trials at a time; None: one for each GPU, else one for every `trainer.threads` cores.
    """

    def __init__(self, slots: int | None = None) -> None:
        super().__init__()
        self.slots = slots

    def check(self, config: ExperimentConfig) -> None:
        """Check the number of slots, and the device.

        Raises:
            ConfigError: there are none, or a GPU is asked for by its number.
        """
        check_slots(self.slots, device=config.device)

    @contextmanager
    def place(self, jobs: Sequence[Job]) -> Iterator[Machine]:
        """Divide the machine into slots, for each kind of trials its own."""
        found = {}
        for kind, number in Counter(map(_kind, jobs)).items():
            free = slots(self.slots, device=kind.device, threads=kind.threads)
            if len(free) > 1 and kind.threads is None and free[0].gpu is None:
                log.warning(
                    "trainer.threads=null: %d trials at a time share all cores and slow each other "
                    "down; set trainer.threads",
                    len(free),
                )
            found[kind] = free[:number]
        at_a_time = " or ".join(dict.fromkeys(str(len(free)) for free in found.values()))
        log.info("%s, %s at a time", counted(len(jobs), "trial"), at_a_time)
        yield Machine(self.config, found)


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides which part of a machine a trial gets."""

    device: str
    threads: int | None


def _kind(job: Job) -> Kind:
    return Kind(job.config.device, job.config.trainer.threads)


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
    """The slots of this machine, and who has them.

    Trials of one kind run at a time: slots of another kind would divide the same cores otherwise.

    Args:
        config: of the sweep.
        found: slots for each kind of its trials, no more than there are trials.
    """

    look_seconds = 0.1

    def __init__(self, config: DictConfig, found: Mapping[Kind, Sequence[Slot]]) -> None:
        self._config, self._slots = config, found
        self._attempts: list[LocalAttempt] = []

    def start(self, waiting: Sequence[Job]) -> Sequence[LocalAttempt]:
        """Start a trial in every slot that is free for trials of its kind."""
        self._attempts = [item for item in self._attempts if item.ended() is None]
        kinds = [_kind(job) for job in (*(item.job for item in self._attempts), *waiting)]
        chosen = [job for job in waiting if _kind(job) == kinds[0]]
        busy = [item.slot for item in self._attempts]
        free = [slot for slot in self._slots[kinds[0]] if slot not in busy] if chosen else []
        started = [self._start(*pair) for pair in zip(chosen, free, strict=False)]
        self._attempts += started
        return started

    def _start(self, job: Job, slot: Slot) -> LocalAttempt:
        prepare(job)
        gpu = {} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}
        neighbours = len(self._slots[_kind(job)]) - 1
        process = start(command_of(job, self._config, neighbours=neighbours), **gpu)
        if slot.cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, slot.cores)
        return LocalAttempt(job, slot, process)
