"""The training loop: one straight line over epochs and steps, for FP32 and for QAT alike."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from qatexp.config.schema import Select
from qatexp.errors import NonFiniteLossError, TrainingError
from qatexp.training.epochs import EpochLog
from qatexp.training.evaluate import Scores, evaluate
from qatexp.training.plan import TrainPlan, build_optimizer
from qatexp.training.progress import Reporter, reporter
from qatexp.training.snapshot import TrainingState
from qatexp.training.steering import Steering

log = logging.getLogger(__name__)


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


class Keeper(Protocol):
    """Keeps states of a training, to go on from."""

    def offer(self, training: TrainingState) -> None:
        """Called after each epoch; writes the state if it is worth it."""

    def resume_(self, training: TrainingState) -> None:
        """Bring a training that starts to the state that was kept, if there is one."""


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
    keeper: Keeper | None = None,
    on_resume: Callable[[int], None] | None = None,
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
        on_epoch: called with each finished epoch's figures, on the first rank; with those from
            before a cut too.
        keeper: where the training continues from, and leaves its state; for one device.
        on_resume: called with the number of epochs that it spares.

    Raises:
        NonFiniteLossError: the loss became infinite or NaN.
        StoreError: a state cannot be written.
    """
    steering = Steering(label_smoothing=plan.label_smoothing) if steering is None else steering
    job = _Job(name, plan, data, fabric, seed, plan.steps(data.steps_per_epoch()), steering)
    optimizer = build_optimizer(plan, model, scales=scales, trusted=trusted)
    wrapped, optimizer = fabric.setup(model, optimizer)
    training = TrainingState(model, optimizer, fabric, steering)
    tell = on_epoch if on_epoch is not None and fabric.global_rank == 0 else _tell_nobody
    if keeper is not None:
        _resume_(training, keeper, job, on_resume)
    done = len(training.history)
    for row in training.history:
        tell(row)
    quiet = fabric.global_rank > 0
    with reporter(name, steps=job.total, done=done * job.steps, quiet=quiet) as report:
        for epoch in range(done + 1, plan.epochs + 1):
            _epoch_(training, wrapped, job, epoch, report)
            tell(training.history[-1])
            if keeper is not None:
                keeper.offer(training)
    _select_(training)
    return training.history


def _epoch_(
    training: TrainingState, wrapped: nn.Module, job: _Job, epoch: int, report: Reporter
) -> None:
    """Train and validate for one epoch, and keep its figures."""
    started = time.perf_counter()
    plan, data = job.plan, job.data
    loss = _train_epoch_(wrapped, training.optimizer, job, epoch, report)
    val = evaluate(training.model, data.eval_batches("val")) if data.size("val") > 0 else None
    row = _epoch_log(job, epoch, loss, val, training.steering.end_epoch())
    training.history.append(row)
    if val is not None and plan.select is Select.best:
        training.best.offer(epoch, val, training.model)
    report.epoch(_line(job.name, row, plan.epochs, time.perf_counter() - started))


def _tell_nobody(row: EpochLog) -> None:
    """Ranks above zero, and callers that do not listen."""


def _resume_(
    training: TrainingState,
    keeper: Keeper,
    job: _Job,
    on_resume: Callable[[int], None] | None,
) -> None:
    """Continue from where the training was before, if anywhere, and say so."""
    keeper.resume_(training)
    done = len(training.history)
    if done == 0:
        return
    log.info("%s continues after epoch %d of %d", job.name, done, job.plan.epochs)
    if on_resume is not None:
        on_resume(done)


def _select_(training: TrainingState) -> None:
    """Give the model the weights that count, and mark their epoch in the history."""
    best, history = training.best, training.history
    if best.epoch is not None:
        history[best.epoch - 1] = replace(history[best.epoch - 1], kept=True)
    best.choose_(training.model)
    training.model.eval()


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
        job.steering.before_step(plan.share(step, job.steps))
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step, job.steps) * group["lr_factor"]
        loss = job.steering.loss(_logits(wrapped(images)), images, labels)
        fabric.backward(loss)
        if plan.clip_grad_norm is not None:
            # The loss is looked at below, and float16's scaler skips steps that overflow.
            fabric.clip_gradients(
                wrapped, optimizer, max_norm=plan.clip_grad_norm, error_if_nonfinite=False
            )
        optimizer.step()
        optimizer.zero_grad()
        job.steering.after_step(step)
        total += loss.detach()
        value = float(total) if index % look_every == 0 or index == job.steps - 1 else None
        if value is not None and not math.isfinite(value):
            raise NonFiniteLossError(_diverged(job, epoch, index))
        report.step(None if value is None else value / (index + 1))
    if fabric.world_size > 1:
        total = cast("Tensor", fabric.all_reduce(total, reduce_op="mean"))
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
