"""What a recipe does around the steps of a training, and the loss that it minimizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Steering:
    """Plain training: cross entropy, nothing around the steps. Recipes override what they need.

    Args:
        label_smoothing: share of the loss that falls on the other classes.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def before_step(self, share: float) -> None:
        """Called before each step with the share (0..1) that `TrainPlan.share` finds."""

    def loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss (a scalar) of logits (N, classes) for normalized images (N, C, H, W)."""
        del images
        return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def after_step(self, step: int) -> None:
        """Called after the optimizer's step of this number, from 0."""

    def end_epoch(self) -> float | None:
        """Called after each epoch; returns its oscillation, None where it is not watched."""
        return None

    def state(self) -> dict[str, Any]:
        """What has changed since the start, as tensors and plain types, between two epochs."""
        return {}

    def restore_(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the model's own tensors are restored afterwards."""


@dataclass(frozen=True)
class Distillation:
    """Learning from the logits of a teacher.

    The loss is `1 - weight` of the cross entropy and `weight` of the Kullback-Leibler divergence of
    the two networks' softened predictions, times the squared temperature: Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531.
    """

    teacher: Callable[[Tensor], Tensor]
    weight: float
    temperature: float

    def loss(self, cross_entropy: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Mix the teacher's part into the cross entropy of logits (N, classes) of these images."""
        with torch.no_grad():
            wanted = self.teacher(images).float() / self.temperature
        softened = functional.log_softmax(logits.float() / self.temperature, 1)
        target = functional.log_softmax(wanted, 1)
        divergence = functional.kl_div(softened, target, log_target=True, reduction="batchmean")
        kept = (1.0 - self.weight) * cross_entropy
        return kept + self.weight * self.temperature**2 * divergence
