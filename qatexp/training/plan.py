"""What one training does: epochs, learning-rate schedule and optimizer, resolved to numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from qatexp.config.schema import Decay, Fp32Schedule, QatSchedule, ScheduleConfig, Select
from qatexp.config.targets import resolve
from qatexp.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """One training; `lr` is the peak rate that warm-up leads to and decay starts from."""

    epochs: int
    lr: float
    momentum: float | None
    weight_decay: float
    warmup_epochs: float
    decay: Decay
    label_smoothing: float
    select: Select
    clip_grad_norm: float | None = None
    scale_lr: float = 1.0
    scale_weight_decay: float = 0.0
    optimizer: dict[str, Any] = field(default_factory=dict)
    limit_batches: int | None = None
    decay_epochs: int = 1

    @property
    def stem_epochs(self) -> int:
        """Epochs at the start that are the same in a longer training: with a short decay alone."""
        return max(self.epochs - self.decay_epochs, 0) if self.decay is Decay.short else 0

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of one epoch, of a data set with so many full batches."""
        return (
            steps_per_epoch
            if self.limit_batches is None
            else min(steps_per_epoch, self.limit_batches)
        )

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step (0-based), a factor of the peak times the peak."""
        if self.decay is Decay.short:
            return self._short_rate(step, steps_per_epoch)
        total = max(self.epochs * steps_per_epoch, 1)
        warmup = min(self.warmup_epochs * steps_per_epoch, total)
        if step < warmup:
            # A warm-up may end within a step, which must not go beyond the peak.
            return self.lr * min((step + 1) / warmup, 1.0)
        share = (step - warmup) / max(total - warmup, 1)
        if self.decay is Decay.cosine:
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * share))
        return self.lr * (1.0 - share) if self.decay is Decay.linear else self.lr

    def _short_rate(self, step: int, steps_per_epoch: int) -> float:
        """No step before the decay may depend on the number of all steps, nor its warm-up."""
        warmup = self.warmup_epochs * steps_per_epoch
        peak = self.lr * min((step + 1) / warmup, 1.0) if warmup > 0 else self.lr
        return peak * 0.5 * (1.0 + math.cos(math.pi * self.share(step, steps_per_epoch)))

    def share(self, step: int, steps_per_epoch: int) -> float:
        """Share (0..1) of the steps that lie before this one: of all, or of a short decay's own."""
        before = self.stem_epochs * steps_per_epoch
        steps = self.epochs * steps_per_epoch - before
        return max(step - before, 0) / max(steps, 1)


def plan_of(
    part: Fp32Schedule | QatSchedule,
    schedule: ScheduleConfig,
    *,
    lr: float,
    limit_batches: int | None,
) -> TrainPlan:
    """Build the plan of one part of the schedule with its resolved learning rate."""
    scales = (
        (part.scale_lr, part.scale_weight_decay) if isinstance(part, QatSchedule) else (1.0, 0.0)
    )
    return TrainPlan(
        epochs=part.epochs,
        lr=lr,
        momentum=part.momentum,
        weight_decay=part.weight_decay,
        warmup_epochs=part.warmup_epochs,
        decay=part.decay,
        label_smoothing=part.label_smoothing,
        select=part.select,
        clip_grad_norm=part.clip_grad_norm,
        scale_lr=scales[0],
        scale_weight_decay=scales[1],
        optimizer=dict(schedule.optimizer),
        limit_batches=limit_batches,
        decay_epochs=part.decay_epochs,
    )


def build_optimizer(
    plan: TrainPlan,
    model: nn.Module,
    *,
    scales: Sequence[nn.Parameter] = (),
    trusted: Sequence[str] = (),
) -> torch.optim.Optimizer:
    """Make the optimizer of a plan; learned `scales` get a group with rate and decay of their own.

    The factor of a group's learning rate is its `lr_factor`.

    Raises:
        ConfigError: the target is no optimizer, does not take momentum, or refuses its arguments.
    """
    options = {key: value for key, value in plan.optimizer.items() if key != "_target_"}
    target = str(plan.optimizer["_target_"])
    factory = resolve(target, key="schedule.optimizer._target_", trusted=trusted)
    if plan.momentum is not None:
        momentum = _momentum(factory, plan.momentum, target)
        for name in momentum.keys() & options.keys():
            raise ConfigError(
                f"schedule.optimizer.{name}={options[name]} and schedule.*.momentum="
                f"{plan.momentum} exclude each other; set schedule.fp32.momentum and "
                "schedule.qat.momentum to null, or leave out the former."
            )
        options |= momentum
    special = {id(parameter) for parameter in scales}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in special]
    groups: list[dict[str, Any]] = [{"params": weights, "lr_factor": 1.0}]
    if scales:
        decay, factor = plan.scale_weight_decay, plan.scale_lr
        groups.append({"params": list(scales), "weight_decay": decay, "lr_factor": factor})
    try:
        optimizer = factory(groups, lr=plan.lr, weight_decay=plan.weight_decay, **options)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"schedule.optimizer={plan.optimizer}: {problem}") from problem
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"schedule.optimizer._target_={target} does not make an optimizer.")
    return optimizer


def _momentum(factory: Callable[..., Any], momentum: float, target: str) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters
    if "momentum" in parameters:
        return {"momentum": momentum}
    if "betas" in parameters:
        default = parameters["betas"].default
        return {"betas": (momentum, default[1])}
    raise ConfigError(
        f"schedule.*.momentum={momentum}: {target} takes no momentum; set schedule.fp32.momentum "
        "and schedule.qat.momentum to null."
    )
