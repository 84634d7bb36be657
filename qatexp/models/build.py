"""From a `ModelConfig` to a model that is known to fit the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from qatexp.config.schema import ModelConfig
from qatexp.config.targets import resolve
from qatexp.errors import ConfigError, ModelError, QatexpError
from qatexp.models.checkpoint import load_checkpoint_
from qatexp.models.interface import Interface, arguments, describe
from qatexp.models.pretrained import build_pretrained
from qatexp.models.reasons import reason
from qatexp.models.trial import check_input

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltModel:
    """A model that takes the data's images, and what differs from what one might expect of it."""

    model: nn.Module
    warnings: tuple[str, ...]


def build_model(
    config: ModelConfig,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    trusted: Sequence[str] = (),
) -> BuiltModel:
    """Build the model, load its weights and try it on two empty images.

    The callable gets `num_classes` and `in_channels` where it accepts them and the options do not
    set them. Random weights come from torch's global generator: seed it before.

    Args:
        config: the callable, its options, and where weights come from.
        num_classes: number of logits that the data needs, at least 1.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels.
        trusted: packages that the user trusts beside `qatexp.config.targets.TRUSTED`.

    Returns:
        The model on the CPU in train mode, with the warnings that the record should keep; they
        are logged as well.

    Raises:
        ConfigError: the target, its options or the combination of keys is wrong.
        ModelError: the model cannot be built, its weights do not load, or it does not take images
            of this shape.
    """
    if config.pretrained and config.checkpoint is not None:
        raise ConfigError(
            f"model.pretrained=true and model.checkpoint={config.checkpoint} exclude each other: "
            "set model.pretrained=false or model.checkpoint=null."
        )
    builder = resolve(config.target, key="model._target_", trusted=trusted)
    interface = describe(builder, config.target)
    options = arguments(config, interface, num_classes=num_classes, in_channels=in_channels)
    model, warnings = _construct(builder, options, config=config, interface=interface)
    if config.checkpoint is not None:
        load_checkpoint_(model, config.checkpoint, name=config.name)
    check_input(
        model,
        name=config.name,
        num_classes=num_classes,
        image_shape=(in_channels, *image_size),
    )
    for warning in warnings:
        _log.warning(warning)
    return BuiltModel(model=model.train(), warnings=warnings)


def _construct(
    builder: Callable[..., Any],
    options: dict[str, Any],
    *,
    config: ModelConfig,
    interface: Interface,
) -> tuple[nn.Module, tuple[str, ...]]:
    if config.pretrained and interface.has_weights:
        return build_pretrained(builder, options, config=config)
    if config.pretrained:
        options = options | _pretrained_option(config, interface)
    if interface.has_weights:
        options = options | {"weights": None}
        if "init_weights" in interface.names:
            # What the default does as well, but with a warning in GoogLeNet and Inception.
            options.setdefault("init_weights", True)
    return _call(builder, options, config=config), ()


def _pretrained_option(config: ModelConfig, interface: Interface) -> dict[str, bool]:
    if "pretrained" not in interface.names:
        raise ConfigError(
            f"model.pretrained=true: {config.target} does not offer pretrained weights (it "
            "has no argument 'pretrained'); set model.pretrained=false and model.checkpoint=FILE."
        )
    return {"pretrained": True}


def _call(
    builder: Callable[..., Any], options: dict[str, Any], *, config: ModelConfig
) -> nn.Module:
    given = ", ".join(f"{key}={value!r}" for key, value in options.items())
    try:
        model = builder(**options)
    except QatexpError:
        raise
    except Exception as problem:
        raise ModelError(
            f"model._target_={config.target} failed, called with ({given}): {reason(problem)}."
        ) from problem
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model._target_={config.target} returned a {type(model).__name__}; "
            "it must return a torch.nn.Module."
        )
    return model
