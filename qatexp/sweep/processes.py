"""One trial in a process of its own: the command of a single run, in the folder of the trial."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from qatexp.config.variables import NEIGHBOURS, PROGRESS, TRIAL
from qatexp.sweep.trial import mark_started

OUTPUT_FILE, PROGRESS_FILE = "output.log", "progress.json"
"""What a trial's process prints (its log is in ``qatexp.log``), and how far it is."""
_SUBDIR = "hydra.sweep.subdir="


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to be launched."""

    overrides: tuple[str, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Slot:
    """The share of the machine that one trial has at a time; None: no limit of its own."""

    number: int
    gpu: str | None
    cores: tuple[int, ...] | None


def jobs_of(config: DictConfig, batch: Sequence[Sequence[str]], first: int) -> list[Job]:
    """The jobs of a sweep's launcher call; each goes to the folder that its overrides name.

    Args:
        config: of the sweep.
        batch: overrides of each job.
        first: number of the first job, for those that name no folder.
    """
    sweep, jobs = Path(str(config.hydra.sweep.dir)), []
    for number, overrides in enumerate(batch, start=first):
        named = [item for item in overrides if item.startswith(_SUBDIR)]
        name = named[-1].removeprefix(_SUBDIR).strip("'") if named else str(number)
        own = tuple(item for item in overrides if not item.startswith(_SUBDIR))
        jobs.append(Job(own, sweep / name))
    return jobs


def start(job: Job, slot: Slot, config: DictConfig, *, neighbours: int) -> subprocess.Popen[bytes]:
    """Start the process of a trial.

    Args:
        job: the trial.
        slot: where it runs.
        config: of the sweep.
        neighbours: how many other trials may run at the same time.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    folder = str(job.folder).replace("'", r"\'")
    command = [sys.executable, "-m", "qatexp", *_options(config), *job.overrides]
    progress = job.folder / PROGRESS_FILE
    progress.unlink(missing_ok=True)  # of an earlier attempt
    mark_started(job.folder)
    environment = {
        **os.environ,
        TRIAL: str(os.getpid()),
        NEIGHBOURS: str(neighbours),
        PROGRESS: str(progress.absolute()),
    }
    threads = config.trainer.threads
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if slot.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = slot.gpu
    with (job.folder / OUTPUT_FILE).open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  this program itself, without a shell
            [*command, f"hydra.run.dir='{folder}'"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials in order
        )
    if slot.cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return process


def _options(config: DictConfig) -> list[str]:
    """Hydra's own options of the sweep's command that a trial needs too."""
    sources = config.hydra.runtime.config_sources
    folders = [str(item.path) for item in sources if item.provider == "command-line"]
    options = [part for folder in folders for part in ("--config-dir", folder)]
    name = config.hydra.job.config_name
    return options if name is None else [*options, "--config-name", str(name)]
