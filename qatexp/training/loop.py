"""The training loop: one straight line over epochs and steps, for FP32 and for QAT alike."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from qatexp.config.schema import Select
from qatexp.errors import NonFiniteLossError, TrainingError
from qatexp.training.evaluate import Scores, evaluate
from qatexp.training.plan import TrainPlan, build_optimizer
from qatexp.training.progress import Reporter, reporter
from qatexp.training.steering import Steering


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


def train_(
    model: nn.Module,
    plan: TrainPlan,
    data: TrainingData,
    *,
    fabric: Fabric,
    name: str,
    seed: int,
    scales: Sequence[nn.Parameter] = (),
    trusted: Sequence[str] = (),
    steering: Steering | None = None,
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
        scales: learned ranges, with a rate and a decay of their own.
        trusted: packages that the user trusts for `schedule.optimizer._target_`.
        steering: the loss, and what happens around the steps; None is plain cross entropy.
        on_epoch: called with each finished epoch's figures, on the first rank.

    Raises:
        NonFiniteLossError: the loss became infinite or NaN.
    """
    steering = Steering(label_smoothing=plan.label_smoothing) if steering is None else steering
    job = _Job(name, plan, data, fabric, seed, plan.steps(data.steps_per_epoch()), steering)
    optimizer = build_optimizer(plan, model, scales=scales, trusted=trusted)
    wrapped, optimizer = fabric.setup(model, optimizer)
    history: list[EpochLog] = []
    best = _Best()
    with reporter(name, steps=job.total, quiet=fabric.global_rank > 0) as report:
        for epoch in range(1, plan.epochs + 1):
            started = time.perf_counter()
            loss = _train_epoch_(wrapped, optimizer, job, epoch, report)
            val = evaluate(model, data.eval_batches("val")) if data.size("val") > 0 else None
            history.append(_epoch_log(job, epoch, loss, val, steering.end_epoch()))
            if on_epoch is not None and fabric.global_rank == 0:
                on_epoch(history[-1])
            report.epoch(_line(name, history[-1], plan.epochs, time.perf_counter() - started))
            if val is not None and plan.select is Select.best:
                best.offer(epoch, val, model)
    if best.epoch is not None:
        history[best.epoch - 1] = replace(history[best.epoch - 1], kept=True)
    best.restore_(model)
    model.eval()
    return history


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same over all epochs of a training."""

    name: str
    plan: TrainPlan
    data: TrainingData
    fabric: Fabric
    seed: int
    steps: int
    """Steps of one epoch."""
    steering: Steering

    @property
    def total(self) -> int:
        return max(self.plan.epochs * self.steps, 1)


class _Best:
    """The weights of the epoch with the highest validation accuracy, if any was offered.

    Of equal accuracies, common on a small split, the lower validation loss counts, then the later
    epoch: the first of equals would be the least trained one.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.rank = (-math.inf, -math.inf)
        self.state: dict[str, Tensor] | None = None

    def offer(self, epoch: int, val: Scores, model: nn.Module) -> None:
        rank = (val.top1, -val.loss)
        if rank >= self.rank:
            self.epoch, self.rank = epoch, rank
            self.state = copy.deepcopy(model.state_dict())

    def restore_(self, model: nn.Module) -> None:
        if self.state is not None:
            model.load_state_dict(self.state)


def _train_epoch_(
    wrapped: nn.Module,
    optimizer: torch.optim.Optimizer,
    job: _Job,
    epoch: int,
    report: Reporter,
) -> float:
    """Train one epoch and return its mean loss."""
    wrapped.train()
    plan, fabric = job.plan, job.fabric
    total = torch.zeros((), device=fabric.device)
    # Reading a loss waits for the GPU: there, look only now and then.
    look_every = 1 if fabric.device.type == "cpu" else 20
    batches = job.data.train_batches(
        epoch=epoch,
        seed=job.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        limit=plan.limit_batches,
    )
    for index, (images, labels) in enumerate(batches):
        step = (epoch - 1) * job.steps + index
        job.steering.before_step(step / job.total)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step, job.steps) * group["lr_factor"]
        loss = job.steering.loss(_logits(wrapped(images)), images, labels)
        fabric.backward(loss)
        if plan.clip_grad_norm is not None:
            fabric.clip_gradients(wrapped, optimizer, max_norm=plan.clip_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        job.steering.after_step(step)
        total += loss.detach()
        value = float(total) if index % look_every == 0 or index == job.steps - 1 else None
        if value is not None and not math.isfinite(value):
            raise NonFiniteLossError(_diverged(job, epoch, index))
        report.step(None if value is None else value / (index + 1))
    return float(total) / job.steps


def _logits(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise TrainingError(
            f"the model returns {type(output).__name__} in training, not logits; models with "
            "auxiliary outputs have to be built without them, e.g. +model.aux_logits=false"
        )
    return output


def _epoch_log(
    job: _Job, epoch: int, loss: float, val: Scores | None, oscillation: float | None
) -> EpochLog:
    rate = job.plan.rate(epoch * job.steps - 1, job.steps)
    top1, val_loss = (None, None) if val is None else (val.top1, val.loss)
    return EpochLog(epoch, loss, rate, top1, val_loss, oscillation)


def _diverged(job: _Job, epoch: int, index: int) -> str:
    knob = "schedule.fp32.lr" if job.name == "fp32" else "schedule.qat.lr_scale"
    rate = job.plan.rate((epoch - 1) * job.steps + index, job.steps)
    return (
        f"the loss of {job.name} is not finite in epoch {epoch}, step {index + 1} of {job.steps} "
        f"(learning rate {rate:.3g}); try a smaller {knob}"
    )


def _line(name: str, log: EpochLog, epochs: int, seconds: float) -> str:
    val = "" if log.val_top1 is None else f"  val top-1 {log.val_top1:.2f} %"
    return f"{name} epoch {log.epoch}/{epochs}  loss {log.loss:.4f}{val}  ({seconds:.1f} s)"
