"""Keys that are changed on purpose: ``--set KEY=VALUE``, in Hydra's grammar."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from qatexp.config.keys import unknown_key
from qatexp.config.points import parse_overrides
from qatexp.config.schema import DatasetConfig, ModelConfig
from qatexp.errors import ConfigError

_TARGETS = {"model": ModelConfig, "dataset": DatasetConfig}
_SET_APART = "qconfig.bits"
"""Sets the two keys below when a command line is composed; afterwards it changes nothing."""
_UNUSED = ("cache", "sweep")
"""Branches that a rerun does not read: it is one run, and computes everything anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key with the value of the original and the one that it was set to."""

    key: str
    original: Any
    rerun: Any


def with_changes(
    config: dict[str, Any], settings: Sequence[str]
) -> tuple[dict[str, Any], tuple[Change, ...]]:
    """Set keys of a plain configuration.

    Args:
        config: as `plain_config` makes it; it stays as it is.
        settings: ``KEY=VALUE``, with the keys of the command line (``model.width``).

    Returns:
        The new configuration, and the keys whose value is another one now.

    Raises:
        ConfigError: a setting cannot be read, or names no key that holds a value.
    """
    changed = copy.deepcopy(config)
    changes = []
    for text in settings:
        setting = _parsed(text)
        key, value = str(setting.key_or_group), setting.value()
        branch, name = _place(changed, key, adds=setting.is_add())
        if name not in branch or branch[name] != value:
            changes.append(Change(key, branch.get(name), value))
        branch[name] = value
    return changed, tuple(changes)


def _parsed(text: str) -> Override:
    try:
        (setting,) = parse_overrides([text])
    except HydraException as problem:
        reason = str(problem).splitlines()[0]
        raise ConfigError(
            f"--set {text} cannot be read: {reason}; allowed: KEY=VALUE."
        ) from problem
    unusual = setting.is_delete() or setting.is_force_add() or setting.package is not None
    if unusual or setting.is_sweep_override():
        raise ConfigError(
            f"--set {text} is not possible: a rerun is one run, and a key gets one value; "
            "allowed: KEY=VALUE."
        )
    return setting


def _place(config: dict[str, Any], key: str, *, adds: bool) -> tuple[dict[str, Any], str]:
    """The branch that holds a key, and its name there; an argument of a target may be new."""
    if key == _SET_APART:
        raise ConfigError(
            f"--set {key} would change nothing: in a run's configuration it has set "
            "qconfig.weight.bits and qconfig.activation.bits; set these."
        )
    if key.partition(".")[0] in _UNUSED:
        raise ConfigError(
            f"--set {key} would change nothing: a rerun is one run, and computes everything "
            "without the stage cache; leave it out."
        )
    node, parts = config, _plain_parts(key)
    for part in parts[:-1]:
        inner = node.get(part)
        if not isinstance(inner, dict):
            raise unknown_key(key)
        node = inner
    is_argument = "options" in parts[:-1] or "optimizer" in parts[:-1]
    if parts[-1] not in node and not (adds and is_argument):
        raise unknown_key(key)
    if isinstance(node.get(parts[-1]), dict) and not is_argument:
        raise ConfigError(
            f"--set {key} is not possible: it is no key with a value, but a branch; a run's "
            f"configuration knows no groups any more. Set keys of it, {key}.KEY=VALUE."
        )
    return node, parts[-1]


def _plain_parts(key: str) -> list[str]:
    """``model._target_`` is model.target in a plain configuration, ``model.width`` an option."""
    group, *rest = key.split(".")
    if group not in _TARGETS or not rest:
        return [group, *rest]
    if rest == ["_target_"]:
        return [group, "target"]
    schema = _TARGETS[group]
    assert is_dataclass(schema)
    own = {item.name for item in fields(schema)} - {"target", "options"}
    return [group, *rest] if rest[0] in own else [group, "options", *rest]
