"""What each trial gets of a cluster, and what several machines need to work on one sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from qatexp.config.schema import ExperimentConfig, TrackingConfig
from qatexp.errors import ConfigError
from qatexp.sweep.processes import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """``hydra.launcher.cpus``, ``.gpus`` and ``.memory_gb`` as they were given."""

    cpus: Any
    gpus: Any
    memory_gb: Any


@dataclass(frozen=True, slots=True)
class Resources:
    """The share of a cluster that one trial has."""

    cpus: int
    gpus: float
    """Less than 1: several trials share one."""
    memory_gb: float | None
    """10^9 bytes; None: whatever the cluster gives."""

    def __str__(self) -> str:
        memory = "" if self.memory_gb is None else f", {self.memory_gb:g} GB"
        return f"{self.cpus} CPUs, {self.gpus:g} GPUs{memory}"


def resources(asked: Asked, config: ExperimentConfig, *, launcher: str) -> Resources:
    """Check what is asked for against what trials use, and fill in what is left open.

    Args:
        asked: None takes `trainer.threads` CPUs, else 1; and `trainer.devices` GPUs, where trials
            run on GPUs.
        config: of the trials.
        launcher: its name, for messages.

    Raises:
        ConfigError: a number is none, or does not fit the trials.
    """
    on_gpus = config.device.startswith("cuda")
    if config.device.startswith("cuda:"):
        raise ConfigError(
            f"device={config.device} is not possible with hydra/launcher={launcher}, where the "
            "cluster chooses the GPU of each trial; use device=cuda."
        )
    threads = config.trainer.threads
    cpus = _number("cpus", asked.cpus, least=1, default=1 if threads is None else threads)
    gpus = _number("gpus", asked.gpus, least=0, default=config.trainer.devices if on_gpus else 0)
    memory = None
    if asked.memory_gb is not None:
        memory = _number("memory_gb", asked.memory_gb, least=0.1, default=0)
    if int(cpus) != cpus:
        raise ConfigError(f"hydra.launcher.cpus={cpus:g} is not possible; allowed: whole numbers.")
    needed = config.trainer.devices if on_gpus else 0
    if gpus < needed and not (needed == 1 and gpus > 0):
        raise ConfigError(
            f"hydra.launcher.gpus={gpus:g} is less than a trial uses with device={config.device} "
            f"and trainer.devices={config.trainer.devices}; set it to {needed}, or leave it out."
        )
    return Resources(int(cpus), gpus, memory)


def _number(key: str, value: Any, *, least: float, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigError(
            f"hydra.launcher.{key}={value} is not possible; allowed: null, or numbers from "
            f"{least:g} on."
        )
    return value


def mapping(key: str, node: Any) -> dict[str, Any]:
    """A key of the launcher that holds names and values; null is none of them.

    Raises:
        ConfigError: it holds something else.
    """
    if node is None:
        return {}
    found = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(found, dict):
        raise ConfigError(
            f"hydra.launcher.{key}={found} is not possible; allowed: null, or names and values "
            f"such as 'hydra.launcher.{key}={{name:value}}'."
        )
    return {str(name): value for name, value in found.items()}


def check_package(package: str, *, extra: str, launcher: str) -> None:
    """Check that an optional package is there, without importing it.

    Raises:
        ConfigError: it is not; the message names the extra.
    """
    if find_spec(package) is None:
        raise ConfigError(
            f"hydra/launcher={launcher} needs the package {package}, which is not installed: "
            f"pip install 'qatexp[{extra}]'; or use hydra/launcher=local on this machine."
        )


def shares(asked: Asked, jobs: Sequence[Job], *, launcher: str) -> dict[Job, Resources]:
    """What each trial gets, by its own configuration; see `resources`.

    It warns where the cluster decides on how many threads trials compute, and so on the figures.
    """
    found = {job: resources(asked, job.config, launcher=launcher) for job in jobs}
    open_ones = [given for job, given in found.items() if job.config.trainer.threads is None]
    if open_ones:
        log.warning(
            "trainer.threads=null: the machine that runs a trial decides on its threads, and with "
            "them on the last digits of its figures; set trainer.threads=%d",
            open_ones[0].cpus,
        )
    return found


def told(given: Iterable[Resources]) -> str:
    """The resources of trials, in words."""
    return f"{' or '.join(dict.fromkeys(map(str, given)))} for each trial"


def warn_of_sqlite(config: TrackingConfig, *, home: Path) -> None:
    """Warn where several machines are about to write to one sqlite file."""
    # Hydra imports this module for every command, and these take a tenth of a second.
    from qatexp.tracking import resolve_uri
    from qatexp.tracking.uri import sqlite_path

    if not config.enabled or (path := sqlite_path(resolve_uri(config, home=home))) is None:
        return
    log.warning(
        "trials on several machines log to one sqlite file, %s: on a network file system it can "
        "lock up or break; start a server there (mlflow server --backend-store-uri sqlite:///...) "
        "and set tracking.uri=http://HOST:PORT",
        path,
    )
