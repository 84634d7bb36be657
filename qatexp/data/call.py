"""Call the data source that the configuration names, with the arguments that it accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from qatexp.config.schema import DatasetConfig
from qatexp.config.targets import resolve
from qatexp.data.source import Source, check_source
from qatexp.errors import ConfigError, DataError, QatexpError

GENERAL = ("root", "download", "image_size", "resize_size")
# The loader resizes for every source; where data come from is the source's business alone.
OWN_BUSINESS = ("root", "download")


def call_source(config: DatasetConfig, *, trusted: Sequence[str] = ()) -> Source:
    """Resolve ``dataset._target_``, call it and check what it returns.

    Args:
        config: its `target` gets those of root, download, image_size and resize_size that its
            signature accepts, and all of `options`.
        trusted: packages that the user trusts beside the built-in ones.

    Raises:
        ConfigError: the target cannot be used, or does not take (or lacks) an argument.
        DataError: the source failed, or returned something that is not a `Source`.
    """
    source = resolve(config.target, key="dataset._target_", trusted=trusted)
    arguments = _arguments(source, config)
    try:
        returned = source(**arguments)
    except QatexpError:
        raise
    except Exception as problem:  # users' code: whatever it raises, their target is to be named
        raise DataError(
            f"dataset._target_={config.target} failed: {type(problem).__name__}: {problem}"
        ) from problem
    return check_source(returned, target=config.target)


def _arguments(source: Callable[..., Any], config: DatasetConfig) -> dict[str, Any]:
    parameters = inspect.signature(source).parameters.values()
    named = [item.name for item in parameters if item.kind is not item.VAR_KEYWORD]
    takes_any = len(named) < len(parameters)
    given = {name: getattr(config, name) for name in GENERAL}
    if not takes_any:
        _refuse_ignored(given, named, config)
        _refuse_unknown(named, config)
    general = {
        name: value
        for name, value in given.items()
        if name in named or (takes_any and not _is_unset(value))
    }
    arguments = general | config.options
    missing = [
        item.name
        for item in parameters
        if item.default is item.empty
        and item.name not in arguments
        and item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)
    ]
    if missing:
        raise ConfigError(f"dataset.{missing[0]} is not set; {config.target} needs it.")
    return arguments


def _refuse_ignored(given: dict[str, Any], named: list[str], config: DatasetConfig) -> None:
    for name in OWN_BUSINESS:
        if name not in named and not _is_unset(given[name]):
            raise ConfigError(
                f"dataset.{name}={given[name]} has no effect: {config.target} does not take it. "
                f"Remove dataset.{name}, or choose a data set that does."
            )


def _refuse_unknown(named: list[str], config: DatasetConfig) -> None:
    accepted = [name for name in named if name not in GENERAL]
    for name, value in config.options.items():
        if name not in accepted:
            raise ConfigError(
                f"dataset.{name}={value} is not an argument of {config.target}; "
                f"allowed: {', '.join(accepted) or 'none'}."
            )


def _is_unset(value: Any) -> bool:
    return value is None or value is False
