"""The parity certificate: every step from the trained model to the deployed file, compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qatexp.measurement import agreement, matched
from qatexp.quantization.codes import (
    converted_codes,
    fake_quantized_codes,
    moved_weight_codes,
    quantized_layers,
)
from qatexp.records import Agreement, Certificate
from qatexp.runtimes import reference
from qatexp.runtimes.onnx_file import OUTPUT
from qatexp.runtimes.tensors import quantized_tensors
from qatexp.stages.context import Context
from qatexp.stages.export import Deployment

MAX_CODES = 2**26
"""Activation codes that are held at a time: large networks are compared on fewer images."""


def certify(context: Context, deployment: Deployment) -> Certificate | None:
    """Compare trained, folded, converted and exported model on test images, code for code.

    Returns:
        None where `measure.certificate_images` is 0.
    """
    if context.config.measure.certificate_images == 0:
        return None
    with context.stage("certify"):
        images = _images(context, deployment)
        trained, logits = fake_quantized_codes(deployment.trained.cpu(), images)
        folded, folded_logits = fake_quantized_codes(deployment.folded, images)
        layers = quantized_layers(deployment.folded)
        shared = [(layers[name], codes, folded[name]) for name, codes in trained.items()]
        codes, converted_logits = converted_codes(deployment.converted, images)
        found = {
            optimize: quantized_tensors(deployment.path, images, optimize=optimize)
            for optimize in (False, True)
        }
        predicted = reference.run(deployment.path, images)
        certificate = Certificate(
            images=len(images),
            weight_codes_moved=moved_weight_codes(deployment.trained, deployment.folded),
            folding=agreement((logits, folded_logits), shared),
            folded_equals_converted=torch.equal(folded_logits, converted_logits),
            unoptimized=_of_file(codes, converted_logits, found[False]),
            optimized=_of_file(codes, converted_logits, found[True]),
            reference_codes_share=_share_predicted(predicted.tensors, found[True]),
            reference_unmodelled=predicted.unmodelled,
        )
        deployment.trained.to(context.device)
    if not certificate.folded_equals_converted:
        context.warn(
            "the folded model and the one with integer weights do not give the same logits; "
            "the deployed file may differ from what was trained"
        )
    return certificate


def _images(context: Context, deployment: Deployment) -> Tensor:
    """The first test images, as many as asked for and as activations have room."""
    wanted = context.config.measure.certificate_images
    batches, count = [], 0
    for images, _ in context.data.eval_batches("test"):
        batches.append(images.cpu())
        count += len(images)
        if count >= wanted:
            break
    images = torch.cat(batches)[:wanted]
    codes, _ = fake_quantized_codes(deployment.folded, images[:1])
    per_image = sum(tensor.numel() for tensor in codes.values())
    return images[: max(MAX_CODES // max(per_image, 1), 1)]


def _of_file(
    codes: list[tuple[str, Tensor]], logits: Tensor, found: dict[str, np.ndarray[Any, Any]]
) -> Agreement:
    tensors = {name: torch.from_numpy(value) for name, value in found.items()}
    output = tensors.pop(OUTPUT)
    return agreement((logits, output), matched(codes, list(tensors.values())))


def _share_predicted(
    predicted: dict[str, np.ndarray[Any, Any]], found: dict[str, np.ndarray[Any, Any]]
) -> float | None:
    """Share of the last quantized tensor's codes that are as predicted; None where all is float."""
    common = [name for name in predicted if name in found]
    if not common:
        return None
    return float((predicted[common[-1]] == found[common[-1]]).mean())
