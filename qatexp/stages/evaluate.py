"""Evaluate a variant on the test images: the trained model, and its file in its runtime."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qatexp.measurement import compare_logits
from qatexp.records import Parity
from qatexp.runtimes import onnxruntime
from qatexp.stages.code import code_of
from qatexp.stages.context import Context, save_json
from qatexp.stages.environment import cpu_flags
from qatexp.stages.export import Deployment
from qatexp.training import Scores, device_of, evaluate

SCORES = "scores.json"
LIBRARIES = ("torch", "torchao", "onnxruntime")
CODE = (
    "training.evaluate",
    "data",
    "models",
    "measurement",
    "runtimes",
    "quantization",
    "stages.evaluate",
)
"""Parts of qatexp that decide what an evaluation finds."""


@dataclass(frozen=True)
class Candidate:
    """A trained model and the file that it was exported to.

    `deployment` holds the forms between the two, where the model is quantized.
    """

    model: nn.Module
    path: Path
    deployment: Deployment | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy of one variant."""

    top1: float
    """Percent of the test images, in PyTorch."""
    loss: float
    """Mean cross entropy over the test images, in PyTorch."""
    deployed_top1: float
    """Percent of the test images, the file in its runtime."""
    val_top1: float | None
    """Percent of the validation images, in PyTorch; None where there are none."""
    predicted_classes: int
    """Different classes among the predictions of the file."""
    parity: Parity
    """The trained model against its file; without a certificate."""


def quantized(deployment: Deployment) -> Candidate:
    """The candidate of a prepared model that was converted and exported."""
    return Candidate(deployment.trained, deployment.path, deployment)


def evaluate_variant(context: Context, name: str, item: Candidate) -> Evaluation:
    """Evaluate a variant once: trials of a sweep that share it take the figures from the cache."""
    with context.stage(f"evaluate_{name}", cacheable=True):
        parts = {
            "code": code_of(*CODE, libraries=LIBRARIES),
            "from": [context.fingerprints[name], context.fingerprints[f"export_{name}"]],
            "data": [context.data.fingerprint, context.config.dataset.eval_batch_size],
            "device": device_of(context.config.device).type,
            "threads": [torch.get_num_threads(), os.cpu_count()],
            # Kernels of other processors round, and saturate, in other ways.
            "processor": [cpu_flags(), onnxruntime.session_options(item.path)],
        }

        def make(folder: Path) -> None:
            found = _evaluation(context, item)
            save_json(dataclasses.asdict(found), folder / SCORES)

        folder = context.entry(f"evaluate_{name}", parts, make)
        content: dict[str, Any] = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    return Evaluation(**{**content, "parity": Parity(**content["parity"])})


def deployed_scores(context: Context, path: Path, split: str) -> Scores:
    """Evaluate an exported file in its runtime on a split, on all cores."""
    predict = onnxruntime.load(path, threads=os.cpu_count() or 1)
    return evaluate(predict, context.data.eval_batches(split))


def _evaluation(context: Context, item: Candidate) -> Evaluation:
    model = item.model.to(context.device)
    trained = evaluate(model, context.data.eval_batches("test"))
    deployed = deployed_scores(context, item.path, "test")
    has_validation = context.data.size("val") > 0
    return Evaluation(
        top1=trained.top1,
        loss=trained.loss,
        deployed_top1=deployed.top1,
        val_top1=evaluate(model, context.data.eval_batches("val")).top1 if has_validation else None,
        predicted_classes=len(deployed.predictions.unique()),
        parity=compare_logits(trained.logits, deployed.logits),
    )
