"""All that changes from one epoch of a training to the next, as plain data and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from qatexp.training.epochs import Best, EpochLog
from qatexp.training.random_state import random_state, restore_random_state
from qatexp.training.steering import Steering


@dataclass
class TrainingState:
    """A training between two epochs: going on from here gives what never stopping gives.

    Only Datasets that draw random numbers of their own in worker processes are beyond its reach.
    """

    model: nn.Module
    optimizer: Any
    """As Fabric has set it up."""
    fabric: Fabric
    steering: Steering
    best: Best = field(default_factory=Best)
    history: list[EpochLog] = field(default_factory=list)

    def capture(self) -> dict[str, Any]:
        """Tensors and plain types only; the tensors are those of the training, not copies."""
        return {
            "history": [dataclasses.asdict(row) for row in self.history],
            "steering": self.steering.state(),
            "model": self.model.state_dict(),
            "buffers": _other_buffers(self.model),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "best": self.best.state(),
            "random": random_state(self.fabric.device),
        }

    def restore_(self, content: Mapping[str, Any]) -> None:
        """Go back to what was captured of the same training, tensors on any device.

        Raises:
            Exception: of any class, where it is the state of another training.
        """
        self.history[:] = [EpochLog(**row) for row in content["history"]]
        # Before the model's tensors: a change of bits resets some of them.
        self.steering.restore_(content["steering"])
        self.model.load_state_dict(content["model"])
        _restore_buffers_(self.model, content["buffers"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.fabric.strategy.precision.load_state_dict(content["precision"])
        self.best.restore_(content["best"])
        # Last: whatever comes before may draw random numbers.
        restore_random_state(content["random"], self.fabric.device)


def _other_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that a model leaves out of its state; training may change them all the same."""
    saved = model.state_dict().keys()
    return {name: value for name, value in model.named_buffers() if name not in saved}


def _restore_buffers_(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in buffers.items():
            model.get_buffer(name).copy_(value)
