"""From Hydra's composed configuration to a checked `ExperimentConfig`: parse once, at the edge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qatexp.config.checks import check
from qatexp.config.constraints import check_limits
from qatexp.config.keys import check_keys, is_around
from qatexp.config.rewording import reworded
from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.errors import ConfigError

_OPEN_NODES = {"model": ModelConfig, "dataset": DatasetConfig}
"""Groups in Hydra's own convention: `_target_`, keys of ours, and the callable's arguments."""
_NON_FINITE = {str(value): value for value in (math.inf, -math.inf, math.nan)}


def parse(composed: DictConfig) -> ExperimentConfig:
    """Build and check the typed configuration; neither torch nor any target is imported.

    Raises:
        ConfigError: naming the key, the value it got, what is allowed and what to do.
    """
    return Parser().parse(composed)


class Parser:
    """Parses configurations one after another, each as `parse` does.

    Of one that differs from the one before in plain values, only those are typed anew: the points
    of a grid do, and typing all of their keys takes ten times as long.
    """

    def __init__(self) -> None:
        self._leaves: dict[str, Any] = {}
        self._typed: Any = None

    def parse(self, composed: DictConfig) -> ExperimentConfig:
        """Build and check the typed configuration; see `parse`."""
        return self.checked(_content(composed))

    def checked(self, content: dict[str, Any]) -> ExperimentConfig:
        """Build and check it from plain values, with the arguments of targets apart.

        Raises:
            ConfigError: as `parse`.
        """
        leaves = dict(_leaves("", content))
        try:
            changed = self._changed(leaves)
            if changed is None:
                check_keys(content)
                self._typed = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), content)
            else:
                for key in changed:
                    OmegaConf.update(self._typed, key, leaves[key], merge=False)
            config = OmegaConf.to_object(self._typed)
        except OmegaConfBaseException as problem:
            self._typed = None  # some of the values may be in it already
            raise ConfigError(reworded(problem)) from problem
        self._leaves = leaves
        assert isinstance(config, ExperimentConfig)
        check_limits(config)
        check(config)
        return config

    def _changed(self, leaves: dict[str, Any]) -> list[str] | None:
        """Keys whose plain values differ from the last ones; None where all has to be typed."""
        if self._typed is None or leaves.keys() != self._leaves.keys():
            return None
        # 1 and True are equal, and not the same.
        changed = [key for key, value in leaves.items() if repr(value) != repr(self._leaves[key])]
        is_plain = all(not isinstance(leaves[key], list | dict) for key in changed)
        return changed if is_plain else None


def _content(composed: DictConfig) -> dict[str, Any]:
    """Our own branches, resolved, with the arguments of targets apart and the name filled in."""
    content = _resolve(composed)
    for group, schema in _OPEN_NODES.items():
        content[group] = _split_options(group, content.get(group), schema)
    if content.get("name") is None:
        content["name"] = "-".join(_short_name(content[group]) for group in _OPEN_NODES)
    return content


_FREE_NODES = {"model.options", "dataset.options", "schedule.optimizer"}
"""Branches without a schema: each is one value."""


def _leaves(branch: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{branch}{name}"
        if isinstance(value, dict) and key not in _FREE_NODES:
            yield from _leaves(f"{key}.", value)
        else:
            yield key, value


def parse_plain(content: Mapping[str, Any]) -> ExperimentConfig:
    """Build and check the typed configuration that `plain_config` wrote; the way back.

    JSON has no infinity: the texts ``inf``, ``-inf`` and ``nan`` are numbers among the arguments of
    a target, as they are on the command line.

    Raises:
        ConfigError: as `parse`, for instance for a key that another version had.
    """
    restored = {str(key): value for key, value in content.items()}
    for group in (*_OPEN_NODES, "schedule"):
        arguments = "optimizer" if group == "schedule" else "options"
        node = restored.get(group)
        if isinstance(node, Mapping) and arguments in node:
            restored[group] = {**node, arguments: _with_infinities(node[arguments])}
    return Parser().checked(restored)


def _with_infinities(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _with_infinities(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_infinities(value) for value in node]
    return _NON_FINITE.get(node, node) if isinstance(node, str) else node


def _resolve(composed: DictConfig) -> dict[str, Any]:
    # Before a job starts, Hydra's own branch still has values missing that are none of ours.
    ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        content = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as problem:
        raise ConfigError(reworded(problem)) from problem
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _short_name(node: dict[str, Any]) -> str:
    return str(node["target"]).rpartition(".")[2]


def _split_options(group: str, node: Any, schema: type) -> dict[str, Any]:
    """Separate the keys of the schema from the keyword arguments of the target."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise ConfigError(
            f"{group}={node!r}: a {group} needs the key _target_, a dotted name of a callable, "
            f"or choose a member of the group with {group}=NAME."
        )
    known = {item.name for item in dataclasses.fields(schema)} - {"target", "options"}
    own = {key: value for key, value in node.items() if key in known}
    options = {key: value for key, value in node.items() if key not in known | {"_target_"}}
    return {"target": node["_target_"], **own, "options": options}


def flat_params(config: ExperimentConfig) -> dict[str, Any]:
    """Everything that figures depend on, flat, under the names that the command line uses.

    Two experiments with the same parameters are the same one, but for its name.
    """
    values: dict[str, Any] = {"model": config.model.name, "dataset": config.dataset.name}
    leaves = [
        (_command_line_name(key), value)
        for key, value in plain_leaves(plain_config(config))
        if key != "name" and not is_around(key) and value != {}
    ]
    # What is swept most comes first, also in tables.
    values |= dict(sorted(leaves, key=lambda leaf: leaf[0].partition(".")[0] in _OPEN_NODES))
    weight, activation = config.qconfig.weight.bits, config.qconfig.activation.bits
    if not weight == activation == config.qconfig.bits:
        # The common key would state bits that neither weights nor activations have.
        names = (32 if bits is None else bits for bits in (weight, activation))
        values["qconfig.bits"] = weight if weight == activation else "w{}a{}".format(*names)
    return values


def _command_line_name(key: str) -> str:
    """``model.width`` for model.options.width, and ``model._target_`` for model.target."""
    group, _, rest = key.partition(".")
    if group not in _OPEN_NODES:
        return key
    return f"{group}.{'_target_' if rest == 'target' else rest.removeprefix('options.')}"


def plain_leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of what `plain_config` makes, under its full key; lists are values."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from plain_leaves(value, f"{key}.{name}" if key else name)
    else:
        yield key, node


def _plain(value: Any) -> Any:
    """JSON types: enums by name, structures as lists and dicts."""
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, list | tuple | ListConfig):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def plain_config(config: ExperimentConfig) -> dict[str, Any]:
    """The whole configuration in JSON types, for fingerprints and artifacts."""
    plain = _plain(config)
    assert isinstance(plain, dict)
    return _plain_dicts(plain)


def _plain_dicts(node: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _plain_dicts(value) if isinstance(value, dict) else _plain(value)
        for key, value in node.items()
    }
