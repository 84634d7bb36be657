"""The FP32 baseline, trained or loaded, and the control that trains as long as QAT does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qatexp.config.schema import ModelConfig
from qatexp.quantization.prepare import check_quantizable
from qatexp.stages.code import code_of, target_code
from qatexp.stages.context import Context, load_history
from qatexp.stages.train import (
    build_network,
    restore,
    train_stage,
    training_parts,
)
from qatexp.store.checked import checksum


def fp32(context: Context) -> nn.Module:
    """Train the baseline, or take its checkpoint as it is when `schedule.fp32.epochs` is 0.

    Returns:
        The network on the run's device, in eval mode.
    """
    with context.stage("fp32", cacheable=True):
        model, warnings = build_network(context.config, context.data)
        context.warnings.extend(warnings)
        _warn_of_untrained(context)
        parts = _baseline_parts(context, model)
        if (content := parts["model"]["checkpoint"]) is not None:
            context.fingerprints["checkpoint"] = content
        return _trained(context, "fp32", model, parts)


def _warn_of_untrained(context: Context) -> None:
    config = context.config
    has_weights = config.model.checkpoint is not None or config.model.pretrained
    if config.schedule.fp32.epochs == 0 and not has_weights:
        context.warn(
            "the FP32 network is untrained: schedule.fp32.epochs=0, and neither model.checkpoint "
            "nor model.pretrained gives it weights"
        )


def control(context: Context, baseline: nn.Module) -> nn.Module:
    """Fine-tune the baseline in FP32 for the steps and rates of QAT.

    Without it, a table cannot tell what QAT gains from what longer training gains.
    """
    with context.stage("control", cacheable=True):
        model, _ = build_network(context.config, context.data)
        model.load_state_dict(baseline.state_dict())
        parts = training_parts(context.config, context.data, "control")
        parts["from"] = context.fingerprints["fp32"]
        return _trained(context, "control", model, parts)


def _trained(context: Context, name: str, model: nn.Module, parts: dict[str, Any]) -> nn.Module:
    def make(folder: Path) -> None:
        # Hours of training for a model that cannot be quantized would be wasted.
        check_quantizable(model, context.data.example().cpu(), context.config.qconfig)
        train_stage(context, name, model.to(context.device), folder, parts=parts)

    folder = context.entry(name, parts, make)
    context.add_history(name, load_history(folder))
    return restore(model, folder, context.device)


def _baseline_parts(context: Context, model: nn.Module) -> dict[str, Any]:
    """What the baseline depends on; where nothing is trained, seeds and rates are not among it."""
    config = context.config
    if config.schedule.fp32.epochs > 0:
        parts = training_parts(config, context.data, "fp32")
    else:
        parts = {
            "code": code_of("models"),
            "torch": torch.__version__,
            "data": context.data.fingerprint,
            "weights": _digest(model),
        }
    return {**parts, "model": _model_parts(config.model, config.trusted_packages)}


def _digest(model: nn.Module) -> str:
    """Hash of all weights: those that no file gives are drawn, with the run's seed."""
    found = hashlib.sha256()
    for key, value in model.state_dict().items():
        found.update(f"{key} {value.dtype} {list(value.shape)} ".encode())
        found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _model_parts(config: ModelConfig, trusted: Sequence[str]) -> dict[str, Any]:
    """What the initial network depends on: checkpoint and source code count by their content."""
    checkpoint = None if config.checkpoint is None else Path(config.checkpoint).expanduser()
    return {
        "target": config.target,
        "options": config.options,
        "pretrained": config.pretrained,
        "checkpoint": None if checkpoint is None else checksum(checkpoint),
        "code": target_code(config.target, key="model._target_", trusted=trusted),
    }
