"""Does a model take the data's images? Asked before any work begins, with two empty images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qatexp.errors import ModelError
from qatexp.models.reasons import reason

_BATCH = 2


def check_input(
    model: nn.Module, *, name: str, num_classes: int, image_shape: tuple[int, int, int]
) -> None:
    """Run the model once in eval mode, without gradients, and check what it returns.

    Args:
        model: on the CPU; left in the mode it was in.
        name: of the model, for messages.
        num_classes: number of logits that it must return.
        image_shape: channels, height and width in pixels.

    Raises:
        ModelError: it fails on images of this shape, or does not return one float tensor
            (2, num_classes).
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(_BATCH, *image_shape))
    except Exception as problem:
        raise ModelError(
            f"model {name} does not take images of shape {image_shape}: {reason(problem)}. "
            "Set dataset.image_size to a size that it takes, or choose a model whose in_channels "
            f"can be {image_shape[0]}."
        ) from problem
    finally:
        model.train(was_training)
    _check_output(output, name=name, num_classes=num_classes)


def _check_output(output: Any, *, name: str, num_classes: int) -> None:
    wanted = (_BATCH, num_classes)
    if not isinstance(output, Tensor):
        raise ModelError(
            f"model {name} returns a {type(output).__name__} in eval mode; it must return one "
            f"tensor of logits, {wanted} for {_BATCH} images."
        )
    if tuple(output.shape) != wanted:
        raise ModelError(
            f"model {name} returns shape {tuple(output.shape)} for {_BATCH} images, but the data "
            f"set has {num_classes} classes: expected {wanted}. Set the argument that decides it, "
            f"usually +model.num_classes={num_classes}."
        )
    if not output.is_floating_point():
        raise ModelError(
            f"model {name} returns {output.dtype}; it must return logits in floating point."
        )
