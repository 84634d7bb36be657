"""Which keys there are, to say what is allowed where an unknown one was given."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from qatexp.config.constraints import Constraint, Range
from qatexp.config.schema import ExperimentConfig
from qatexp.config.suggestions import did_you_mean
from qatexp.errors import ConfigError

_INDEX = re.compile(r"\[\d+\]")
_OPEN = ("model.", "dataset.", "schedule.optimizer.")
_AROUND = (
    "tracking",
    "cache",
    "sweep",
    "trusted_packages",
    "debug.traceback",
    "trainer.checkpoint_seconds",
)


def is_open(key: str) -> bool:
    """Whether a key that the schema does not have may be added: it is an argument of a target."""
    return key.startswith(_OPEN)


def is_around(key: str) -> bool:
    """Whether a key is of what goes on around a run: no figure of the run depends on it."""
    return any(key == branch or key.startswith(f"{branch}.") for branch in _AROUND)


def check_keys(content: Mapping[str, Any]) -> None:
    """Check that every key of a composed configuration is one of the schema.

    Raises:
        ConfigError: naming the first key that is not, and those that are.
    """
    _check_branch(content, ExperimentConfig, "")


def unknown_key(key: str) -> ConfigError:
    """Explain that a key does not exist, and name those beside it that do.

    Args:
        key: full key, ``qconfig.extra``.
    """
    *parents, _ = key.split(".")
    branch, schema = "", ExperimentConfig
    for name in parents:
        inner = _schema_of(schema, name)
        if inner is None and name in get_type_hints(schema):
            return ConfigError(f"{key} is not possible: {branch}{name} is one value, without keys.")
        if inner is None:
            return _unknown(f"{branch}{name}", schema, branch)
        branch, schema = f"{branch}{name}.", inner
    return _unknown(key, schema, branch)


def allowed_at(key: str) -> str | None:
    """Say what a key of the schema takes: ``allowed: 2 to 8, or null``.

    Args:
        key: full key, ``qconfig.bits``; None where it does not exist, or is a branch.
    """
    key = _INDEX.sub("", key)
    *parents, last = key.split(".")
    schema: type[Any] | None = ExperimentConfig
    for name in parents:
        schema = None if schema is None else _schema_of(schema, name)
    found = [item for item in dataclasses.fields(schema) if item.name == last] if schema else []
    if schema is None or not found:
        return None
    hint = get_type_hints(schema)[last]
    values = _values(key, hint, found[0].metadata.get("constraints", ()))
    if values is None:
        return None
    return f"allowed: {values}{', or null' if type(None) in get_args(hint) else ''}"


def _values(key: str, hint: Any, constraints: Iterable[Constraint]) -> str | None:
    """Name the values of one type, without null."""
    limits = [limit for limit in constraints if isinstance(limit, Range)]
    if limits:
        return limits[0].values()
    types = [kind for kind in (hint, *get_args(hint)) if kind is not type(None)]
    if get_origin(hint) is list:
        return f"a list, {key}=[{_member(types[1])}]"
    enums = [kind for kind in types if isinstance(kind, type) and issubclass(kind, Enum)]
    if enums:
        return ", ".join(item.name for item in enums[0])
    words = {bool: "true, false", int: "a whole number", float: "a number", str: "a text"}
    return next((words[kind] for kind in types if kind in words), None)


def _member(kind: type[Any]) -> str:
    """What stands in the brackets of a list: ``{match: ..., skip: ...}`` or ``...``."""
    if not dataclasses.is_dataclass(kind):
        return "..."
    return f"{{{', '.join(f'{item.name}: ...' for item in dataclasses.fields(kind))}}}"


def _check_branch(content: Mapping[str, Any], schema: type[Any], branch: str) -> None:
    names = {item.name for item in dataclasses.fields(schema)}
    for name, value in content.items():
        if name not in names:
            raise _unknown(f"{branch}{name}", schema, branch)
        inner = _schema_of(schema, name)
        if inner is None:
            continue
        is_plain = isinstance(value, str | int | float)
        if is_plain and get_origin(get_type_hints(schema)[name]) is not list:
            first = dataclasses.fields(inner)[0].name
            raise ConfigError(
                f"{branch}{name}={value} is not possible: it has keys of its own, as in "
                f"{branch}{name}.{first}=..."
            )
        members = enumerate(value) if isinstance(value, list) else ()
        places = [(f"{branch}{name}[{index}].", member) for index, member in members]
        for place, node in (*places, (f"{branch}{name}.", value)):
            if isinstance(node, Mapping):
                _check_branch(node, inner, place)


def _schema_of(schema: type[Any], name: str) -> type[Any] | None:
    """The dataclass of a field, or of the members of a list; None for plain values."""
    hint = get_type_hints(schema).get(name)
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _unknown(key: str, schema: type[Any], branch: str) -> ConfigError:
    names = [item.name for item in dataclasses.fields(schema)]
    place = f"in {branch.rstrip('.')}" if branch else "at the top"
    near = did_you_mean(key.rpartition(".")[2], names)
    allowed = f"allowed {place}: {', '.join(names)}"
    return ConfigError(f"{key} is not a key of the configuration; {allowed}{near}")
