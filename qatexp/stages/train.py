"""Run one training of the experiment on one device, or on several in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from qatexp.config.schema import ExperimentConfig, QatSchedule
from qatexp.data import ImageData, load_data
from qatexp.models import build_model
from qatexp.quantization.prepare import (
    freeze_batch_norm_,
    freeze_ranges_,
    prepare,
    quantization_parameters,
)
from qatexp.stages.context import Context, load_weights_, save_history, save_weights
from qatexp.training import EpochLog, device_of, seed_everything, stage_seed, train_
from qatexp.training.plan import TrainPlan, plan_of

DATA_FOLDER = "decoded"
"""Below `cache.dir`: images of folders, decoded once."""


def open_data(config: ExperimentConfig, device: torch.device) -> ImageData:
    """Load the data set of an experiment onto its device."""
    decoded = Path(config.cache.dir) / DATA_FOLDER if config.cache.enabled else None
    return load_data(
        config.dataset,
        seed=config.seed,
        device=device,
        decoded_dir=decoded,
        trusted=config.trusted_packages,
    )


def build_network(config: ExperimentConfig, data: ImageData) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the network with its checkpoint, seeded; returns it with warnings for the record."""
    seed_everything(stage_seed(config.seed, "model"))
    built = build_model(
        config.model,
        num_classes=len(data.classes),
        in_channels=data.channels,
        image_size=data.image_size,
        trusted=config.trusted_packages,
    )
    return built.model, built.warnings


def training_plan(config: ExperimentConfig, name: str) -> TrainPlan:
    """The plan of fp32, control or qat; the last two run at ``fp32.lr * qat.lr_scale``."""
    schedule = config.schedule
    if name == "fp32":
        part, rate = schedule.fp32, schedule.fp32.lr
        return plan_of(part, schedule, lr=rate, limit_batches=config.debug.limit_batches)
    rate = schedule.fp32.lr * schedule.qat.lr_scale
    return plan_of(schedule.qat, schedule, lr=rate, limit_batches=config.debug.limit_batches)


def training_parts(config: ExperimentConfig, data: ImageData, name: str) -> dict[str, Any]:
    """What the result of a training depends on, beside the weights that it starts from."""
    plan = training_plan(config, name)
    parts: dict[str, Any] = {
        "code": 1,
        "torch": torch.__version__,
        "seed": config.seed,
        "data": data.fingerprint,
        "augment": [config.dataset.augment.flip, config.dataset.augment.crop_padding],
        "random_resized_crop": config.dataset.augment.random_resized_crop,
        "batch_size": config.dataset.batch_size,
        "device": device_of(config.device).type,
        "threads": torch.get_num_threads(),
        "trainer": [config.trainer.devices, config.trainer.precision],
        "optimizer": dict(plan.optimizer),
        "plan": [
            plan.epochs,
            plan.lr,
            plan.momentum,
            plan.weight_decay,
            plan.warmup_epochs,
            plan.decay.name,
            plan.label_smoothing,
            plan.select.name,
            plan.limit_batches,
        ],
    }
    if name == "qat":
        qat = config.schedule.qat
        parts["freeze"] = [qat.freeze_observers_at, qat.freeze_bn_at]
    return parts


def train_stage(context: Context, name: str, model: nn.Module, folder: Path) -> None:
    """Train `model` in place and write its weights and history into a stage's folder."""
    if context.config.trainer.devices == 1:
        history = _train_(
            context.fabric, context.config, context.data, name, model, on_epoch=context.on_epoch
        )
    else:
        state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
        worker: Any = _worker  # Fabric's annotation leaves out the arguments that it hands on
        state, history = context.fabric.launch(worker, context.config, name, state)
        model.load_state_dict(state)
        for epoch in history:
            context.on_epoch(name, epoch)
    save_weights(model, folder)
    save_history(history, folder)


def _ignore(name: str, epoch: EpochLog) -> None:
    """The first process logs a training on several when it has ended."""


def _worker(
    fabric: Fabric, config: ExperimentConfig, name: str, state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[EpochLog]]:
    """One process of several: rebuild everything from the configuration, then train."""
    data = open_data(config, fabric.device)
    model, _ = build_network(config, data)
    if name == "qat":
        model = prepare(model, data.example().cpu(), config.qconfig).graph_module
    model.load_state_dict(state)
    seed_everything(stage_seed(config.seed, name))
    history = _train_(fabric, config, data, name, model, on_epoch=_ignore)
    return {key: value.detach().cpu() for key, value in model.state_dict().items()}, history


def _train_(
    fabric: Fabric,
    config: ExperimentConfig,
    data: ImageData,
    name: str,
    model: nn.Module,
    *,
    on_epoch: Callable[[str, EpochLog], None],
) -> list[EpochLog]:
    quantized = name == "qat"
    return train_(
        model,
        training_plan(config, name),
        data,
        fabric=fabric,
        name=name,
        seed=stage_seed(config.seed, name),
        undecayed=quantization_parameters(model) if quantized else (),
        trusted=config.trusted_packages,
        before_step=_freezing(model, config.schedule.qat) if quantized else None,
        on_epoch=lambda epoch: on_epoch(name, epoch),
    )


def _freezing(model: nn.Module, schedule: QatSchedule) -> Callable[[float], None]:
    """Freeze ranges, then batch-norm statistics, once their share of the steps is done."""

    def before_step(share: float) -> None:
        if share >= schedule.freeze_observers_at:
            freeze_ranges_(model)
        if share >= schedule.freeze_bn_at:
            freeze_batch_norm_(model)

    return before_step


def restore(model: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """Load a stage's weights into a model on a device, in eval mode."""
    load_weights_(model, folder)
    return model.to(device).eval()
