"""Which keys there are, to say what is allowed where an unknown one was given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from qatexp.config.constraints import Range
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError

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
        if inner is None:
            break
        branch, schema = f"{branch}{name}.", inner
    return _unknown(key, schema, branch)


def allowed_at(key: str) -> str | None:
    """Say which numbers a key of the schema takes: ``allowed: 2 to 8``.

    Args:
        key: full key, ``qconfig.bits``; None where it does not exist or has no range.
    """
    *parents, last = key.split(".")
    schema: type[Any] | None = ExperimentConfig
    for name in parents:
        schema = None if schema is None else _schema_of(schema, name)
    found = [item for item in dataclasses.fields(schema) if item.name == last] if schema else []
    ranges = [limit for item in found for limit in item.metadata.get("constraints", ())]
    return next((limit.allowed() for limit in ranges if isinstance(limit, Range)), None)


def _check_branch(content: Mapping[str, Any], schema: type[Any], branch: str) -> None:
    names = {item.name for item in dataclasses.fields(schema)}
    for name, value in content.items():
        if name not in names:
            raise _unknown(f"{branch}{name}", schema, branch)
        inner = _schema_of(schema, name)
        if inner is None:
            continue
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
    names = ", ".join(item.name for item in dataclasses.fields(schema))
    place = f"in {branch.rstrip('.')}" if branch else "at the top"
    return ConfigError(f"{key} is not a key of the configuration; allowed {place}: {names}.")
