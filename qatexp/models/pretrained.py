"""torchvision's own weights, and a fresh classifier where the data has other classes."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from qatexp.config.schema import ModelConfig
from qatexp.errors import ModelError
from qatexp.models.reasons import reason


def build_pretrained(
    builder: Callable[..., Any], options: dict[str, Any], *, config: ModelConfig
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a torchvision model with its default weights, downloading them where they are missing.

    Args:
        builder: a builder of torchvision that takes `weights`.
        options: its keyword arguments; `num_classes` decides the classifier, not the builder.
        config: for the messages.

    Returns:
        The model and the warnings about it: one where the classifier is new.

    Raises:
        ModelError: the weights cannot be had, or do not fit the options.
    """
    weights = torchvision.models.get_model_weights(builder).DEFAULT
    others = {key: value for key, value in options.items() if key != "num_classes"}
    try:
        model: nn.Module = builder(weights=weights, **others)
    except (OSError, HTTPException) as problem:  # URLError is an OSError
        raise ModelError(_not_downloaded(config.name, weights.url, problem)) from problem
    except Exception as problem:  # also a file that was cut short: its hash is wrong
        raise ModelError(
            f"model.pretrained=true: {config.name} cannot be built with its weights "
            f"({weights.url}): {reason(problem)}. {_fix()}"
        ) from problem
    known = len(weights.meta["categories"])
    classes = options.get("num_classes", known)
    if classes == known:
        return model, ()
    head = find_head(model, classes=known)
    replace_head_(model, head, classes=classes)
    return model, (
        f"model.pretrained=true: the weights of {config.name} are for {known} classes and the "
        f"data set has {classes}: the classifier {head} starts from random values and has to be "
        "trained.",
    )


def find_head(model: nn.Module, *, classes: int) -> str:
    """Name the last linear layer or convolution, which must have `classes` outputs.

    Raises:
        ModelError: there is none.
    """
    name: str
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear | nn.Conv2d) and _outputs(module) == classes:
            return name
    raise ModelError(
        f"model.pretrained=true: no classifier with {classes} outputs was found in "
        f"{type(model).__name__}; set model.pretrained=false and model.checkpoint=FILE."
    )


def replace_head_(model: nn.Module, name: str, *, classes: int) -> None:
    """Put a freshly initialised layer with `classes` outputs in the place of layer `name`."""
    old = model.get_submodule(name)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, _with_outputs(old, classes))


def _with_outputs(layer: nn.Module, classes: int) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, classes, bias=layer.bias is not None)
    assert isinstance(layer, nn.Conv2d)
    return nn.Conv2d(
        layer.in_channels,
        classes,
        layer.kernel_size,  # type: ignore[arg-type]  # a tuple of the right length
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        bias=layer.bias is not None,
    )


def _outputs(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _not_downloaded(name: str, url: str, problem: Exception) -> str:
    return (
        f"model.pretrained=true: the weights of {name} cannot be downloaded from {url}: "
        f"{reason(problem)}. {_fix()}"
    )


def _fix() -> str:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return (
        f"Put the file into {folder} yourself, or set model.pretrained=false and "
        "model.checkpoint=FILE."
    )
