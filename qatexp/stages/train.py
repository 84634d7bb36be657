"""Run one training of the experiment on one device, or on several in processes of their own."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, fx, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from qatexp import errors
from qatexp.config.parse import plain_config
from qatexp.config.schema import ExperimentConfig
from qatexp.data import ImageData, load_data
from qatexp.errors import TrainingError
from qatexp.models import build_model
from qatexp.quantization.prepare import prepare, quantization_parameters
from qatexp.stages.code import code_of, target_code
from qatexp.stages.context import (
    OSCILLATION,
    Context,
    load_history,
    load_weights_,
    save_history,
    save_json,
    save_weights,
)
from qatexp.stages.listener import Listener, keeper_of
from qatexp.stages.memory import memory_errors
from qatexp.stages.recipe import QatRecipe
from qatexp.training import (
    Distillation,
    device_of,
    make_fabric,
    seed_everything,
    stage_seed,
    train_,
)
from qatexp.training.plan import TrainPlan, plan_of

log = logging.getLogger(__name__)

DATA_FOLDER = "decoded"
"""Below `cache.dir`: images of folders, decoded once."""
State = dict[str, Tensor]
CODE = ("training", "data", "stages.train", "stages.recipe", "stages.stems", "stages.calibration")
"""Parts of qatexp that decide the result of every training."""


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
        "code": code_of(*CODE, "quantization" if name == "qat" else "models"),
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
        "optimizer_code": target_code(
            str(plan.optimizer["_target_"]),
            key="schedule.optimizer._target_",
            trusted=config.trusted_packages,
        ),
        "length": [plan.epochs, plan.decay_epochs],
        "plan": [
            plan.lr,
            plan.momentum,
            plan.weight_decay,
            plan.warmup_epochs,
            plan.decay.name,
            plan.label_smoothing,
            plan.select.name,
            plan.clip_grad_norm,
            plan.limit_batches,
        ],
    }
    if name == "qat":
        parts["recipe"] = plain_config(config)["schedule"]["qat"]
        parts["calibration"] = plain_config(config)["qconfig"]["calibration"]
    return parts


def train_stage(
    context: Context,
    name: str,
    model: nn.Module,
    folder: Path,
    *,
    parts: Mapping[str, Any],
    teacher: nn.Module | None = None,
) -> None:
    """Train `model` and write weights and history into a stage's folder.

    On several devices copies of `model` are trained, and it stays as it is. No states are kept
    there, to continue from or to share: each process draws random numbers of its own.

    Args:
        context: the run.
        name: fp32, control or qat.
        model: network, or prepared graph, on the run's device.
        folder: where the files go.
        parts: of `training_parts`, with what the training starts from.
        teacher: FP32 network whose logits QAT learns from, None where it learns from none.

    Raises:
        TrainingError: the loss became infinite or NaN, or a process of several failed.
    """
    config = context.config
    # A Fabric of several processes can be launched once only, so each training makes its own.
    fabric = make_fabric(config.trainer, context.device)
    if config.trainer.devices == 1:
        job = _Job(fabric, config, context.data, name, folder)
        keeper = keeper_of(context, name, parts, training_plan(config, name))
        _train_(job, model, teacher, Listener(context, name, keeper))
        return
    text = "trainer.devices=%d keeps no states of %s: if it is cut off, it starts anew"
    log.info(text, config.trainer.devices, name)
    states = [_state(model), None if teacher is None else _state(teacher)]
    _launch(fabric, config, name, states, folder)
    for epoch in load_history(folder):
        context.on_epoch(name, epoch)


def _state(model: nn.Module) -> State:
    return {key: value.detach().cpu() for key, value in model.state_dict().items()}


def _launch(
    fabric: Fabric, config: ExperimentConfig, name: str, states: list[State | None], folder: Path
) -> None:
    """Train in several processes; what goes wrong in one of them is told in one line."""
    others = set(active_children())
    worker: Any = _worker  # Fabric's annotation leaves out the arguments that it hands on
    try:
        fabric.launch(worker, config, name, states, folder)
    except (ProcessExitedException, ProcessRaisedException) as problem:
        last = str(problem).strip().splitlines()[-1]
        own = re.match(r"qatexp\.errors\.(\w+): ", last)
        kind = TrainingError if own is None else getattr(errors, own[1])
        reason = last if own is None else last[own.end() :]
        where = f"in a process of trainer.devices={config.trainer.devices}"
        raise kind(f"{where}: {reason}") from problem
    finally:
        # An interrupt leaves them running, and this process could not end before they do.
        for process in set(active_children()) - others:
            process.terminate()


def _worker(
    fabric: Fabric, config: ExperimentConfig, name: str, states: list[State | None], folder: Path
) -> None:
    """One process of several: rebuild everything from the configuration, then train.

    The first one writes the result into `folder`: what Fabric hands back goes through a pipe that
    nobody reads until the process has ended, and a model is larger than a pipe.
    """
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    data = open_data(config, fabric.device)
    model, _ = build_network(config, data)
    teacher = None if states[1] is None else copy.deepcopy(model)
    if name == "qat":
        model = prepare(model, data.example().cpu(), config.qconfig).graph_module
    for network, state in zip((model, teacher), states, strict=True):
        if network is not None and state is not None:
            network.load_state_dict(state)
            network.to(fabric.device)
    seed_everything(stage_seed(config.seed, name))
    with memory_errors():
        _train_(_Job(fabric, config, data, name, folder), model, teacher, None)


@dataclass(frozen=True)
class _Job:
    """One training in one process."""

    fabric: Fabric
    config: ExperimentConfig
    data: ImageData
    name: str
    folder: Path
    """Takes weights and history, from the first process."""


def _train_(
    job: _Job, model: nn.Module, teacher: nn.Module | None, listener: Listener | None
) -> None:
    """Train, and write the result.

    Processes of several have no listener: the first one's epochs are logged when it has ended.
    """
    plan = training_plan(job.config, job.name)
    recipe = _recipe(job, plan, model, teacher) if isinstance(model, fx.GraphModule) else None
    history = train_(
        model,
        plan,
        job.data,
        fabric=job.fabric,
        name=job.name,
        seed=stage_seed(job.config.seed, job.name),
        scales=[] if recipe is None else quantization_parameters(model),
        trusted=job.config.trusted_packages,
        steering=recipe,
        on_epoch=None if listener is None else listener.on_epoch,
        keeper=None if listener is None else listener.keeper,
        on_resume=None if listener is None else listener.on_resume,
    )
    if job.fabric.global_rank == 0:
        if recipe is not None:
            recipe.finish_()
            save_json(recipe.oscillation, job.folder / OSCILLATION)
        save_weights(model, job.folder)
        save_history(history, job.folder)


def _recipe(
    job: _Job, plan: TrainPlan, graph_module: fx.GraphModule, teacher: nn.Module | None
) -> QatRecipe:
    distill, progressive = job.config.schedule.qat.distill, job.config.schedule.qat.progressive
    steps = plan.steps(job.data.steps_per_epoch())
    total = plan.epochs * steps
    if progressive.bits and total > 0 and plan.share(total - 1, steps) < progressive.share:
        raise TrainingError(
            f"schedule.qat.progressive.share={progressive.share} leaves none of the {total} steps "
            "of QAT to the bits that it ends with; lower it, or raise schedule.qat.epochs."
        )
    return QatRecipe(
        graph_module,
        job.config,
        job.data,
        fabric=job.fabric,
        steps_per_epoch=steps,
        distillation=None
        if teacher is None
        else Distillation(teacher.eval(), distill.weight, distill.temperature),
    )


def restore(model: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """Load a stage's weights into a model on a device, in eval mode."""
    load_weights_(model, folder)
    return model.to(device).eval()
