"""The first stage: devices, threads, and the data set with its splits."""

from __future__ import annotations

from functools import cache

import torch

from qatexp.stages.context import Context
from qatexp.stages.train import open_data
from qatexp.training import device_of, make_fabric


def data(context: Context) -> None:
    """Set up where the run computes, and load what it computes on, into the context."""
    config = context.config
    threads = config.trainer.threads
    own = _own_threads()
    torch.set_num_threads(own if threads is None else threads)
    context.device = device_of(config.device)
    make_fabric(config.trainer, context.device)  # what is not possible is said before any work
    with context.stage("data"):
        context.data = open_data(config, context.device)
        context.fingerprints["data"] = context.data.fingerprint


@cache
def _own_threads() -> int:
    """Torch's own thread count, asked first before any run of this process has changed it."""
    return torch.get_num_threads()
