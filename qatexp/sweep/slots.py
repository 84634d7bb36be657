"""How many trials a machine runs at a time, and which part of it each of them has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from qatexp.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Slot:
    """The share of the machine that one trial has at a time; None: no limit of its own."""

    number: int
    gpu: str | None
    cores: tuple[int, ...] | None


def check_slots(wanted: Any, *, device: str) -> None:
    """Check what is asked for; nothing of the machine is looked at.

    Args:
        wanted: ``hydra.launcher.slots``.
        device: of the trials.

    Raises:
        ConfigError: `wanted` is no number of slots, or one GPU is asked for by its number.
    """
    if device.startswith("cuda:"):
        raise ConfigError(
            f"device={device} is not possible with hydra/launcher=local, which gives a GPU to each "
            "trial itself; use device=cuda, and CUDA_VISIBLE_DEVICES to choose among them."
        )
    is_number = isinstance(wanted, int) and not isinstance(wanted, bool)
    if wanted is not None and not (is_number and wanted >= 1):
        raise ConfigError(
            f"hydra.launcher.slots={wanted} is not possible; allowed: null, or whole numbers from "
            "1 on."
        )


def slots(wanted: int | None, *, device: str, threads: int | None) -> list[Slot]:
    """Divide the machine.

    On GPUs each slot has one; more slots than GPUs share them. On the CPU each has as many cores
    as `threads`, and all cores together where the threads are not fixed: torch would use others
    than in a trial that runs alone, and other threads give other figures.

    Args:
        wanted: number of slots; None takes one for each GPU, else as many as cores allow.
        device: of the trials.
        threads: `trainer.threads`.
    """
    gpus = _gpus() if device == "auto" or device.startswith("cuda") else []
    if gpus:
        return [Slot(n, gpus[n % len(gpus)], None) for n in range(wanted or len(gpus))]
    cores = _cores()
    if threads is None:
        return [Slot(n, None, None) for n in range(wanted or 1)]
    count = wanted or max(len(cores) // threads, 1)
    return [Slot(n, None, _share(cores, n, threads)) for n in range(count)]


def _share(cores: list[int], number: int, threads: int) -> tuple[int, ...]:
    """Cores of a slot: its own as long as there are enough, else some that others have too."""
    first = number * threads
    return tuple(cores[(first + offset) % len(cores)] for offset in range(threads))


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    from torch import cuda

    return [str(number) for number in range(cuda.device_count())]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
