"""What a model's callable takes by keyword, and the arguments that it is given."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qatexp.config.schema import ModelConfig
from qatexp.errors import ConfigError

# Keys that the callables of a package hand on through **kwargs, all of them.
_THROUGH_KWARGS = {"torchvision": ("num_classes",), "timm": ("num_classes", "in_chans")}

# torchvision: options that a builder itself reads from its **kwargs, by the class that it returns.
_READ_BY_BUILDER = {
    "EfficientNet": ("dropout",),
    "MobileNetV3": ("width_mult", "reduced_tail", "dilated"),
}

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Interface:
    """The keyword arguments of a callable that builds a model."""

    names: tuple[str, ...]
    """Every key that it is known to accept, in the order of its signature."""
    required: tuple[str, ...]
    """Those without a default."""
    is_open: bool
    """Whether it accepts keys beyond `names`, which only calling it can check."""
    has_weights: bool = False
    """Whether it is a torchvision builder, which takes the weights that it starts from."""


def describe(builder: Callable[..., Any], target: str) -> Interface:
    """Read what `builder`, named by `target`, accepts.

    A torchvision builder hands its **kwargs on to the class that it returns; some of these classes
    ignore keys that they do not know, so the builder counts as closed and is checked here.

    Raises:
        ConfigError: the callable has no signature that could be read.
    """
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError) as problem:
        raise ConfigError(
            f"model._target_={target} cannot build a model: its arguments are unknown ({problem}). "
            "Set a function or class that returns a torch.nn.Module."
        ) from problem
    has_weights = _package(target) == "torchvision" and "weights" in parameters
    named = {name: each for name, each in parameters.items() if each.kind in _NAMED}
    if has_weights:  # not an option: model.pretrained decides
        del named["weights"]
    handed_on = _handed_on(builder) if has_weights else ()
    return Interface(
        names=tuple(dict.fromkeys([*named, *handed_on])),
        required=tuple(name for name, each in named.items() if each.default is each.empty),
        is_open=not handed_on and any(p.kind is p.VAR_KEYWORD for p in parameters.values()),
        has_weights=has_weights,
    )


def arguments(
    config: ModelConfig, interface: Interface, *, num_classes: int, in_channels: int
) -> dict[str, Any]:
    """Join the user's options with what the data decides, where the callable accepts it.

    The user's own value wins. `in_chans` is timm's word for `in_channels`.

    Raises:
        ConfigError: an option is unknown, or a required argument has no value.
    """
    _check_known(config, interface)
    of_data = {"num_classes": num_classes, "in_channels": in_channels, "in_chans": in_channels}
    through = _THROUGH_KWARGS.get(_package(config.target), ()) if interface.is_open else ()
    taken = {*interface.names, *through}
    given = {key: value for key, value in of_data.items() if key in taken} | config.options
    missing = [name for name in interface.required if name not in given]
    if missing:
        raise ConfigError(
            f"model._target_={config.target} needs {', '.join(missing)}; "
            f"set {' '.join(f'+model.{name}=VALUE' for name in missing)}."
        )
    return given


def _check_known(config: ModelConfig, interface: Interface) -> None:
    unknown = [key for key in config.options if key not in interface.names]
    if interface.is_open or not unknown:
        return
    given = ", ".join(f"model.{key}={config.options[key]}" for key in unknown)
    raise ConfigError(
        f"{given}: {config.target} does not accept {', '.join(unknown)}; "
        f"allowed: {', '.join(interface.names) or 'no arguments'}. "
        "Weights are chosen by model.pretrained and model.checkpoint."
    )


def _handed_on(builder: Callable[..., Any]) -> tuple[str, ...]:
    """List the options that a torchvision builder's **kwargs may hold; () if they are unknown."""
    returned = typing.get_type_hints(builder).get("return")
    if not inspect.isclass(returned):
        return ()
    options = tuple(
        name
        for name, each in inspect.signature(returned).parameters.items()
        if each.kind in _NAMED and each.default is not each.empty
    )
    return options + _READ_BY_BUILDER.get(returned.__name__, ())


def _package(target: str) -> str:
    return target.partition(".")[0]
