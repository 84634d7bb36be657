"""The first stage: devices, threads, and the data set with its splits."""

from __future__ import annotations

import torch

from qatexp.stages.context import Context
from qatexp.stages.train import open_data
from qatexp.training import device_of, make_fabric


def data(context: Context) -> None:
    """Set up where the run computes, and load what it computes on, into the context."""
    config = context.config
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    context.device = device_of(config.device)
    context.fabric = make_fabric(config.trainer, context.device)
    with context.stage("data"):
        context.data = open_data(config, context.device)
        context.fingerprints["data"] = context.data.fingerprint
