"""Where training runs: devices and precision through lightning-fabric, seeds of stages."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import warnings
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from qatexp.config.schema import TrainerConfig
from qatexp.errors import ConfigError


def device_of(name: str) -> torch.device:
    """Resolve `device`: auto takes the first GPU where there is one.

    Raises:
        ConfigError: a GPU is asked for and none is there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name}: {torch.cuda.device_count()} GPUs are visible; use device=cpu, "
            "device=auto or another number."
        )
    return device


def make_fabric(config: TrainerConfig, device: torch.device) -> Fabric:
    """Set up lightning-fabric on one or several devices of the kind of `device`.

    Raises:
        ConfigError: the precision or the number of devices is not possible here.
    """
    # Fabric's own lines about seeds and ranks belong in no user's terminal.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    devices: Any = config.devices
    if config.devices == 1 and device.type == "cuda":
        devices = [device.index or 0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fabric = Fabric(
                accelerator=device.type,
                devices=devices,
                precision=config.precision,  # type: ignore[arg-type]
                strategy="ddp_spawn" if config.devices > 1 else "auto",
            )
    except Exception as problem:  # Fabric raises many classes for one kind of mistake
        reason = str(problem).strip().splitlines()[0]
        raise ConfigError(
            f"trainer.devices={config.devices}, trainer.precision={config.precision} "
            f"on {device.type}: {reason}"
        ) from problem
    taken = fabric.strategy.precision.precision
    if taken != config.precision:  # only a warning of Fabric's
        raise ConfigError(
            f"trainer.precision={config.precision} is not possible on {device.type}; allowed "
            f"there: 32-true, {taken}."
        )
    return fabric


def stage_seed(seed: int, stage: str) -> int:
    """Seed of a stage from the run's seed and the stage's name.

    A stage that came from the cache has drawn no random numbers; seeding each stage by itself
    keeps all later ones the same.
    """
    digest = hashlib.sha256(f"{seed}/{stage}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask for deterministic kernels of full precision.

    TF32, cuDNN's default for convolutions, keeps 10 bits of a mantissa: a product of codes and
    scales needs all 24, or the simulated integers are others than the deployed ones.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # libraries read the global state
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
