"""What is kept of the epochs of a training: their figures, and the weights of the best one."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from qatexp.training.evaluate import Scores


@dataclass(frozen=True, slots=True)
class EpochLog:
    """One epoch: mean training loss, last learning rate, and figures that are not always there.

    `oscillation` is the share of quantized weights whose code changes in one step; `kept` marks the
    epoch whose weights a selection by validation has kept.
    """

    epoch: int
    loss: float
    lr: float
    val_top1: float | None = None
    val_loss: float | None = None
    oscillation: float | None = None
    kept: bool = False

    def metrics(self) -> dict[str, float]:
        """The figures that are there, by name."""
        values = {
            "loss": self.loss,
            "lr": self.lr,
            "val_top1": self.val_top1,
            "val_loss": self.val_loss,
            "oscillation": self.oscillation,
        }
        return {name: value for name, value in values.items() if value is not None}


class Best:
    """The weights of the epoch with the highest validation accuracy, if any was offered.

    Of equal accuracies, common on a small split, the lower validation loss counts, then the later
    epoch: the first of equals would be the least trained one.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.rank = (-math.inf, -math.inf)
        self.weights: dict[str, Tensor] | None = None

    def offer(self, epoch: int, val: Scores, model: nn.Module) -> None:
        """Keep a copy of the weights after this epoch if validation finds none better."""
        rank = (val.top1, -val.loss)
        if rank >= self.rank:
            self.epoch, self.rank = epoch, rank
            self.weights = copy.deepcopy(model.state_dict())

    def choose_(self, model: nn.Module) -> None:
        """Give a model the weights of the best epoch; its own stay where none was offered."""
        if self.weights is not None:
            model.load_state_dict(self.weights)

    def state(self) -> dict[str, Any]:
        """What `restore_` needs; tensors are not copied."""
        return {"epoch": self.epoch, "rank": self.rank, "weights": self.weights}

    def restore_(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.epoch, self.weights = state["epoch"], state["weights"]
        self.rank = tuple(state["rank"])
