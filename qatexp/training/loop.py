"""The training loop: one straight line over epochs and steps, for FP32 and for QAT alike."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from qatexp.config.schema import Select
from qatexp.errors import TrainingError
from qatexp.training.evaluate import evaluate
from qatexp.training.plan import TrainPlan, build_optimizer
from qatexp.training.progress import Reporter, reporter


class TrainingData(Protocol):
    """The part of a data set that training reads."""

    def steps_per_epoch(self) -> int:
        """Full batches of the training split."""

    def train_batches(
        self,
        *,
        epoch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented, normalized images and labels of one epoch."""

    def eval_batches(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """A whole split in order."""

    def size(self, split: str) -> int:
        """Number of images of a split."""


@dataclass(frozen=True, slots=True)
class EpochLog:
    """One epoch: mean training loss, last learning rate, validation figures where there are any."""

    epoch: int
    loss: float
    lr: float
    val_top1: float | None = None
    val_loss: float | None = None

    def metrics(self) -> dict[str, float]:
        """The figures that are there, by name."""
        values = {
            "loss": self.loss,
            "lr": self.lr,
            "val_top1": self.val_top1,
            "val_loss": self.val_loss,
        }
        return {name: value for name, value in values.items() if value is not None}


def train_(
    model: nn.Module,
    plan: TrainPlan,
    data: TrainingData,
    *,
    fabric: Fabric,
    name: str,
    seed: int,
    undecayed: Sequence[nn.Parameter] = (),
    trusted: Sequence[str] = (),
    before_step: Callable[[float], None] | None = None,
    on_epoch: Callable[[EpochLog], None] | None = None,
) -> list[EpochLog]:
    """Train a model in place; it ends in eval mode with the weights that `plan.select` chooses.

    Args:
        model: network or prepared graph on the fabric's device.
        plan: epochs, rates, optimizer.
        data: batches of the training and validation splits.
        fabric: devices and precision, launched.
        name: what is trained, for messages: fp32, control or qat.
        seed: seed of shuffling and augmentation.
        undecayed: parameters without weight decay (learned scales).
        trusted: packages that the user trusts for `schedule.optimizer._target_`.
        before_step: called with the share (0..1) of steps done before each step.
        on_epoch: called with each finished epoch's figures, on the first rank.

    Raises:
        TrainingError: the loss became infinite or NaN.
    """
    steps = min(data.steps_per_epoch(), plan.limit_batches or data.steps_per_epoch())
    optimizer = build_optimizer(plan, model, undecayed=undecayed, trusted=trusted)
    wrapped, optimizer = fabric.setup(model, optimizer)
    has_val = data.size("val") > 0
    history: list[EpochLog] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    total = max(plan.epochs * steps, 1)
    with reporter(name, steps=total, quiet=fabric.global_rank > 0) as report:
        for epoch in range(1, plan.epochs + 1):
            started = time.perf_counter()
            loss = _train_epoch_(
                wrapped, optimizer, plan, data, fabric, name, seed, epoch, steps, report, before_step
            )
            val = evaluate(model, data.eval_batches("val")) if has_val else None
            rate = plan.rate(epoch * steps - 1, steps)
            history.append(
                EpochLog(
                    epoch,
                    loss,
                    rate,
                    None if val is None else val.top1,
                    None if val is None else val.loss,
                )
            )
            if on_epoch is not None and fabric.global_rank == 0:
                on_epoch(history[-1])
            report.epoch(_line(name, history[-1], plan.epochs, time.perf_counter() - started))
            if val is not None and plan.select is Select.best and (not best or val.top1 > best[0]):
                best = val.top1, copy.deepcopy(model.state_dict())
    if best is not None:
        model.load_state_dict(best[1])
    model.eval()
    return history


def _train_epoch_(
    wrapped: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: TrainPlan,
    data: TrainingData,
    fabric: Fabric,
    name: str,
    seed: int,
    epoch: int,
    steps: int,
    report: Reporter,
    before_step: Callable[[float], None] | None,
) -> float:
    """Train one epoch and return its mean loss."""
    wrapped.train()
    total = torch.zeros((), device=fabric.device)
    # Reading a loss waits for the GPU: there, look only now and then.
    look_every = 1 if fabric.device.type == "cpu" else 20
    batches = data.train_batches(
        epoch=epoch,
        seed=seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        limit=plan.limit_batches,
    )
    for index, (images, labels) in enumerate(batches):
        step = (epoch - 1) * steps + index
        if before_step is not None:
            before_step(step / (plan.epochs * steps))
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step, steps)
        logits = wrapped(images)
        if not isinstance(logits, Tensor):
            raise TrainingError(
                f"the model returns {type(logits).__name__} in training, not logits; models with "
                "auxiliary outputs have to be built without them, e.g. +model.aux_logits=false"
            )
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=plan.label_smoothing)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        value = float(total) if index % look_every == 0 or index == steps - 1 else None
        if value is not None and not math.isfinite(value):
            raise TrainingError(_diverged(name, epoch, index + 1, steps, plan.rate(step, steps)))
        report.step(None if value is None else value / (index + 1))
    return float(total) / steps


def _diverged(name: str, epoch: int, step: int, steps: int, rate: float) -> str:
    knob = "schedule.fp32.lr" if name == "fp32" else "schedule.qat.lr_scale"
    return (
        f"the loss of {name} is not finite in epoch {epoch}, step {step} of {steps} "
        f"(learning rate {rate:.3g}); try a smaller {knob}"
    )


def _line(name: str, log: EpochLog, epochs: int, seconds: float) -> str:
    val = "" if log.val_top1 is None else f"  val top-1 {log.val_top1:.2f} %"
    return f"{name} epoch {log.epoch}/{epochs}  loss {log.loss:.4f}{val}  ({seconds:.1f} s)"
