"""The launchers `submitit_slurm` and `submitit_local`: trials as jobs of Slurm or one machine."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.sweep.endings import Ending
from qatexp.sweep.launcher import TrialLauncher
from qatexp.sweep.processes import Job, prepare
from qatexp.sweep.remote import RemoteTrial, remote_command
from qatexp.sweep.resources import (
    Asked,
    Resources,
    check_package,
    mapping,
    resources,
    shares,
    told,
    warn_of_sqlite,
)

log = logging.getLogger(__name__)

SLURM, LOCAL = "slurm", "local"
JOBS_FOLDER = ".submitit"
"""Below the sweep's folder: what submitit writes of each job, its output among it."""


class SubmititLauncher(TrialLauncher):
    """Runs each trial as a job of its own.

    Args:
        cluster: slurm, or local: processes of this machine, to try things out.
        cpus: of each trial; None: `trainer.threads`, else 1.
        gpus: of each trial; None: `trainer.devices` with ``device=cuda``, else 0.
        memory_gb: of each trial; None: what Slurm gives.
        timeout_min: minutes after which a trial is taken off its machine.
        max_num_timeout: how often such a trial is queued again; it goes on from its checkpoint.
        array_parallelism: trials at a time, at most; on Slurm of those with the same resources.
        slurm: options of sbatch in submitit's words: partition, account, qos, constraint,
            setup, additional_parameters and others.
    """

    queues = True

    def __init__(
        self,
        *,
        cluster: str,
        cpus: int | None = None,
        gpus: int | None = None,
        memory_gb: float | None = None,
        timeout_min: int = 240,
        max_num_timeout: int = 3,
        array_parallelism: int = 256,
        **slurm: Any,
    ) -> None:
        super().__init__()
        self.cluster, self.asked = cluster, Asked(cpus, gpus, memory_gb)
        self.timeout_min, self.max_num_timeout = timeout_min, max_num_timeout
        self.array_parallelism = array_parallelism
        self.slurm = {name: value for name, value in slurm.items() if value is not None}

    @property
    def name(self) -> str:
        """As it is chosen on the command line."""
        return f"submitit_{self.cluster}"

    def check(self, config: ExperimentConfig) -> None:
        """Check package, commands and resources.

        Raises:
            ConfigError: something is missing, or does not fit the trials.
        """
        check_package("submitit", extra="submitit", launcher=self.name)
        if self.cluster == SLURM and shutil.which("srun") is None:
            raise ConfigError(
                "hydra/launcher=submitit_slurm needs Slurm's commands (sbatch, srun), which this "
                "machine does not have; start the sweep where they are, on a login node for "
                "instance, or try it here with hydra/launcher=submitit_local."
            )
        for key in ("timeout_min", "array_parallelism"):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"hydra.launcher.{key}={value} is not possible; allowed: whole numbers from 1."
                )
        mapping("additional_parameters", self.slurm.get("additional_parameters"))
        given = resources(self.asked, config, launcher=self.name)
        if given.gpus != int(given.gpus):
            raise ConfigError(
                f"hydra.launcher.gpus={given.gpus:g} is not possible with hydra/launcher="
                f"{self.name}; allowed: whole numbers."
            )
        if self.cluster == LOCAL and given.gpus and self.array_parallelism > 1:
            raise ConfigError(
                "hydra/launcher=submitit_local gives the same GPUs to all trials that run at the "
                "same time; set hydra.launcher.array_parallelism=1, or hydra/launcher=local, "
                "which gives each its own."
            )

    @contextmanager
    def place(self, jobs: Sequence[Job]) -> Iterator[Jobs]:
        """Make ready to submit.

        Raises:
            ConfigError: submitit does not know an option, or does not allow its value.
        """
        given = shares(self.asked, jobs, launcher=self.name)
        if self.cluster == SLURM:
            warn_of_sqlite(jobs[0].config.tracking, home=Path.cwd())
        at_a_time, text = min(self.array_parallelism, len(jobs)), told(given.values())
        log.info("%d jobs of %s, %d at a time; %s", len(jobs), self.name, at_a_time, text)
        folder = jobs[0].folder.absolute().parent / JOBS_FOLDER / "%j"
        executors = {
            share: self._executor(share, folder) for share in dict.fromkeys(given.values())
        }
        alone = self.slurm.get("exclusive") is True
        yield Jobs(
            self.config,
            executors,
            given,
            is_slurm=self.cluster == SLURM,
            at_a_time=at_a_time,
            neighbours=0 if alone else at_a_time - 1,
        )

    def _executor(self, given: Resources, folder: Path) -> Any:
        from submitit import AutoExecutor

        limit = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        executor = AutoExecutor(folder, cluster=self.cluster, **limit)
        try:
            executor.update_parameters(**self._parameters(given))
        except (NameError, ValueError, AssertionError) as problem:
            raise ConfigError(f"hydra.launcher: {problem}") from problem
        return executor

    def _parameters(self, given: Resources) -> dict[str, Any]:
        common = {"name": "qatexp", "timeout_min": self.timeout_min, "stderr_to_stdout": True}
        if self.cluster == LOCAL:
            return {**common, "gpus_per_node": int(given.gpus)}
        own = {f"slurm_{name}": _plain(name, value) for name, value in self.slurm.items()}
        # Since Slurm 22.05 srun does not take the number of CPUs over from sbatch.
        steps = {"slurm_srun_args": [f"--cpus-per-task={given.cpus}"]}
        return {
            **common,
            "cpus_per_task": given.cpus,
            "gpus_per_node": int(given.gpus) or None,
            "mem_gb": given.memory_gb,
            "slurm_array_parallelism": self.array_parallelism,
            **steps,
            **own,
        }


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """The job of a trial."""

    job: Job
    submitted: Any
    is_slurm: bool

    def ended(self) -> Ending | None:
        """Ask for the job's result: Slurm for its state, at growing intervals, as submitit does."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self.submitted.done():
            return None
        if self.is_slurm or self.submitted.paths.result_pickle.exists():
            with suppress(FailedJobError, UncompletedJobError):
                ending: Ending = self.submitted.result()
                return ending
        output = self.submitted.paths.stdout
        text = f"its job {self.submitted.job_id} ended without a result ({self.submitted.state})"
        return Ending(None, problem=f"{text}; see {output}")

    def stop(self) -> None:
        """Have the job end: one that runs writes its record, one that waits never starts."""
        if self.is_slurm:
            self.submitted.cancel(check=False)
        else:
            with suppress(ProcessLookupError):
                os.kill(int(self.submitted.job_id), signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; Slurm does so by itself, some time after it was told to stop."""
        if not self.is_slurm:
            self.submitted.cancel(check=False)


class Jobs:
    """Jobs of one sweep."""

    def __init__(
        self,
        config: DictConfig,
        executors: Mapping[Resources, Any],
        given: Mapping[Job, Resources],
        *,
        is_slurm: bool,
        at_a_time: int,
        neighbours: int,
    ) -> None:
        self.look_seconds = 2.0 if is_slurm else 0.5
        self._config, self._executors, self._given = config, executors, given
        self._is_slurm, self._at_a_time, self._neighbours = is_slurm, at_a_time, neighbours
        self._attempts: list[JobAttempt] = []

    def start(self, waiting: Sequence[Job]) -> Sequence[JobAttempt]:
        """Submit all trials, which Slurm queues; one machine has no queue."""
        room = len(waiting)
        if not self._is_slurm:
            running = sum(not item.submitted.done() for item in self._attempts)
            room = self._at_a_time - running
        chosen = waiting[:room]
        started = []
        for share, executor in self._executors.items():
            alike = [job for job in chosen if self._given[job] == share]
            started += self._submit(alike, executor) if alike else []
        self._attempts += started
        return started

    def _submit(self, jobs: Sequence[Job], executor: Any) -> list[JobAttempt]:
        """Submit trials with the same resources as one array."""
        for job in jobs:
            prepare(job)
        submitted = executor.submit_array([self._trial(job) for job in jobs])
        return [
            JobAttempt(job, item, self._is_slurm) for job, item in zip(jobs, submitted, strict=True)
        ]

    def _trial(self, job: Job) -> RemoteTrial:
        command = remote_command(job, self._config, neighbours=self._neighbours)
        return RemoteTrial(command, gpus=self._given[job].gpus, stopped_with_job=self._is_slurm)


def _plain(key: str, value: Any) -> Any:
    """A value without OmegaConf's containers."""
    if key == "additional_parameters":
        return mapping(key, value)
    return value if isinstance(value, str | int | float) else list(value)
