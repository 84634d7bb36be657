"""The launcher `ray`: trials as tasks of a Ray cluster, or of one that is started for them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.results.units import counted
from qatexp.sweep.endings import Ending
from qatexp.sweep.launcher import TrialLauncher
from qatexp.sweep.processes import Job, prepare
from qatexp.sweep.remote import RemoteTrial, remote_command, run_trial
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

OBJECT_STORE_BYTES = 80_000_000
"""Of a cluster of our own: near the least that Ray takes, as trials hand nothing over."""
STARTS = 3
_TOO_SLOW = "timed out during startup"
HANDED_ON = ("MLFLOW_", "PYTHONPATH")
"""Variables of this machine that workers of a cluster do not have by themselves."""


class RayLauncher(TrialLauncher):
    """Runs trials on a Ray cluster, as many at a time as its resources allow.

    Args:
        address: of a cluster that runs: ``auto`` or ``HOST:PORT``; None starts one on this machine,
            for the time of the sweep.
        cpus: of each trial; None: `trainer.threads`, else 1.
        gpus: of each trial, of which several may share one (0.5); None: `trainer.devices` with
            ``device=cuda``, else 0.
        memory_gb: that Ray reserves for each trial; None: nothing.
        resources: further ones that a machine must have, by name.
        runtime_env: of the workers, as Ray takes it; None: that of the cluster.
        init: further arguments of ``ray.init``.
    """

    queues = True

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
        memory_gb: float | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.address, self.asked = address, Asked(cpus, gpus, memory_gb)
        self.resources, self.runtime_env, self.init = resources, runtime_env, init

    def check(self, config: ExperimentConfig) -> None:
        """Check the package and the resources.

        Raises:
            ConfigError: Ray is missing, or the resources do not fit the trials.
        """
        check_package("ray", extra="ray", launcher="ray")
        resources(self.asked, config, launcher="ray")
        for key in ("resources", "runtime_env", "init"):
            mapping(key, getattr(self, key))

    @contextmanager
    def place(self, jobs: Sequence[Job]) -> Iterator[Cluster]:
        """Connect to the cluster, or start one.

        Raises:
            ConfigError: it cannot be reached, or no machine of it is large enough.
        """
        import ray

        given = shares(self.asked, jobs, launcher="ray")
        further = mapping("resources", self.resources)
        try:
            self._connect()
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if self.address is not None or len(machines) > 1:
                warn_of_sqlite(jobs[0].config.tracking, home=Path.cwd())
            if any(machine.get("GPU") for machine in machines):
                _warn_of_unused_gpus(given)
            neighbours = {}
            for share in dict.fromkeys(given.values()):
                at_a_time = max(_fitting(machine, share, further) for machine in machines)
                self._check_size(at_a_time, share, further)
                neighbours[share] = max(min(at_a_time, len(jobs)) - 1, 0)
            text = told(given.values())
            trials, where = counted(len(jobs), "trial"), counted(len(machines), "machine")
            log.info("%s on Ray (%s); %s", trials, where, text)
            yield Cluster(self.config, given, further, neighbours)
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        own: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if self.address is None:
            own |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
            # Nobody was asked whether figures of use may go to Ray's makers.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own |= {"runtime_env": mapping("runtime_env", self.runtime_env) or None}
        own |= mapping("init", self.init)
        # Ray takes SIGTERM for itself, by which a sweep learns that it has to end.
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _init(address=self.address or "local", **own)
        except Exception as problem:  # Ray's own word for a cluster that does not come up, too
            raise ConfigError(
                f"hydra.launcher.address={self.address}: Ray cannot be used: {problem}; allowed: "
                "auto or HOST:PORT of a cluster that runs (ray start --head), or null, which "
                "starts one on this machine. hydra.launcher.init holds further arguments of "
                "ray.init."
            ) from problem
        finally:
            signal.signal(signal.SIGTERM, handler)

    def _check_size(self, at_a_time: int, given: Resources, further: Mapping[str, float]) -> None:
        if at_a_time > 0:
            return
        named = "".join(f", {amount:g} {name}" for name, amount in further.items())
        text = f"no machine of the Ray cluster has {given}{named} for a trial"
        if self.address is None:
            raise ConfigError(
                f"{text}; set hydra.launcher.cpus, .gpus, .memory_gb and .resources to what this "
                "one has, or hydra.launcher.address to a larger cluster."
            )
        log.warning("%s now; trials wait until one joins", text)


@dataclass(frozen=True, slots=True)
class RayAttempt:
    """The task of a trial."""

    job: Job
    task: Any

    def ended(self) -> Ending | None:
        """Ask for the task's result."""
        import ray
        from ray.exceptions import RayError

        ready, _ = ray.wait([self.task], timeout=0)
        if not ready:
            return None
        try:
            ending: Ending = ray.get(self.task)
        except RayError as problem:
            reason = str(problem).strip().splitlines()[0]
            text = f"its Ray worker did not come to an end: {type(problem).__name__}: {reason}"
            return Ending(None, problem=text)
        return ending

    def stop(self) -> None:
        """Cancel the task: one that runs is interrupted, one that waits never starts."""
        import ray

        ray.cancel(self.task)

    def kill(self) -> None:
        """End the worker, with which its trial ends."""
        import ray

        ray.cancel(self.task, force=True)


class Cluster:
    """A Ray cluster that this process is connected to."""

    look_seconds = 0.5

    def __init__(
        self,
        config: DictConfig,
        given: Mapping[Job, Resources],
        further: Mapping[str, float],
        neighbours: Mapping[Resources, int],
    ) -> None:
        import ray

        self._config, self._given, self._neighbours = config, given, neighbours
        self._further = dict(further) or None
        # A trial whose worker is killed has failed: nothing runs again behind the user's back.
        self._task = ray.remote(max_retries=0)(run_trial)

    def start(self, waiting: Sequence[Job]) -> Sequence[RayAttempt]:
        """Hand all trials to Ray, which queues them."""
        return [self._start(job) for job in waiting]

    def _start(self, job: Job) -> RayAttempt:
        prepare(job)
        given = self._given[job]
        command = remote_command(
            job, self._config, neighbours=self._neighbours[given], handed_on=HANDED_ON
        )
        task = self._task.options(
            name=f"qatexp trial {job.folder.name}",
            num_cpus=given.cpus,
            num_gpus=given.gpus,
            memory=None if given.memory_gb is None else int(given.memory_gb * 1e9),
            resources=self._further,
        )
        return RayAttempt(job, task.remote(RemoteTrial(command, gpus=given.gpus)))


def _init(**options: Any) -> None:
    """Start Ray, or connect to it; a busy machine takes longer than Ray's own limit of 30 s."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(**options)
        except Exception as problem:
            if not left or _TOO_SLOW not in str(problem):
                raise
            log.warning("Ray did not start in its own limit of 30 s; it is started again")
            ray.shutdown()
        else:
            return


def _warn_of_unused_gpus(given: Mapping[Job, Resources]) -> None:
    if any(job.config.device == "auto" and not share.gpus for job, share in given.items()):
        log.warning(
            "device=auto: the cluster has GPUs, but trials that ask for none run on CPUs; set "
            "device=cuda, or device=cpu if this is meant"
        )


def _fitting(machine: Mapping[str, float], given: Resources, further: Mapping[str, float]) -> int:
    """How many trials a machine can run at a time."""
    memory = (given.memory_gb or 0) * 1e9
    asked = {**further, "CPU": given.cpus, "GPU": given.gpus, "memory": memory}
    return min(int(machine.get(name, 0) / share) for name, share in asked.items() if share)
