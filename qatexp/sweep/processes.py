"""One trial in a process of its own: the command of a single run, in the folder of the trial."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from qatexp.config.schema import ExperimentConfig
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
    config: ExperimentConfig = field(compare=False)
    """Its own: points may differ in device and threads, too."""


@dataclass(frozen=True, slots=True)
class Command:
    """What starts the process of a trial, on this machine or on another one with the same files."""

    arguments: tuple[str, ...]
    """Behind ``python -m qatexp``."""
    folder: str
    """Of the trial, absolute."""
    home: str
    """The working folder, absolute."""
    environment: dict[str, str]
    """Variables beside those of the process that starts it."""


def jobs_of(
    config: DictConfig,
    batch: Sequence[Sequence[str]],
    first: int,
    *,
    compose: Callable[[Sequence[str]], ExperimentConfig],
) -> list[Job]:
    """The jobs of a sweep's launcher call; each goes to the folder that its overrides name.

    Args:
        config: of the sweep.
        batch: overrides of each job.
        first: number of the first job, for those that name no folder.
        compose: the checked configuration of a job's overrides.
    """
    sweep, jobs = Path(str(config.hydra.sweep.dir)), []
    for number, overrides in enumerate(batch, start=first):
        named = [item for item in overrides if item.startswith(_SUBDIR)]
        name = named[-1].removeprefix(_SUBDIR).strip("'") if named else str(number)
        own = tuple(item for item in overrides if not item.startswith(_SUBDIR))
        jobs.append(Job(own, sweep / name, compose(own)))
    return jobs


def command_of(job: Job, config: DictConfig, *, neighbours: int) -> Command:
    """The command of a single run, in the folder of the trial.

    Args:
        job: the trial.
        config: of the sweep.
        neighbours: how many other trials may run on the same machine at the same time.
    """
    folder = str(job.folder).replace("'", r"\'")
    absolute = job.folder.absolute()
    environment = {NEIGHBOURS: str(neighbours), PROGRESS: str(absolute / PROGRESS_FILE)}
    threads = job.config.trainer.threads
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    return Command(
        arguments=(*_options(config), *job.overrides, f"hydra.run.dir='{folder}'"),
        folder=str(absolute),
        home=str(Path.cwd()),
        environment=environment,
    )


def prepare(job: Job) -> None:
    """Make the folder of a trial, without what would make it look like one that has started."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / PROGRESS_FILE).unlink(missing_ok=True)


def start(command: Command, **variables: str) -> subprocess.Popen[bytes]:
    """Start the process of a trial; its folder exists.

    Args:
        command: of the trial.
        variables: of the environment, that only the machine where it starts can tell.
    """
    folder = Path(command.folder)
    mark_started(folder)
    environment = {**os.environ, **command.environment, **variables, TRIAL: str(os.getpid())}
    with (folder / OUTPUT_FILE).open("ab") as output:
        return subprocess.Popen(  # noqa: S603  this program itself, without a shell
            [sys.executable, "-m", "qatexp", *command.arguments],
            cwd=command.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials in order
        )


def _options(config: DictConfig) -> list[str]:
    """Hydra's own options of the sweep's command that a trial needs too."""
    sources = config.hydra.runtime.config_sources
    folders = [str(item.path) for item in sources if item.provider == "command-line"]
    options = [part for folder in folders for part in ("--config-dir", folder)]
    name = config.hydra.job.config_name
    return options if name is None else [*options, "--config-name", str(name)]
