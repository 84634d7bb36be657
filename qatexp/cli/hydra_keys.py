"""Keys below ``hydra.`` that do not exist: those of launchers and sweepers are the users' own."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from qatexp.config.sources import CONF
from qatexp.config.suggestions import did_you_mean, nearest
from qatexp.errors import ConfigError

_GROUPS = ("launcher", "sweeper")


def unknown_hydra_key(key: str, hydra: DictConfig) -> ConfigError:
    """Explain that a key does not exist, and name those beside it, or the member that has it.

    Args:
        key: full key, ``hydra.launcher.slots``.
        hydra: the branch as it is composed without the key.
    """
    _, *names = key.split(".")
    place, node = "hydra", hydra
    while len(names) > 1 and names[0] in node and isinstance(node[names[0]], DictConfig):
        place, node = f"{place}.{names[0]}", node[names[0]]
        names = names[1:]
    group = place.removeprefix("hydra.")
    if group in _GROUPS:
        chosen = hydra.runtime.choices[f"hydra/{group}"]
        return _unknown_in_group(key, names[0], group, chosen=chosen, allowed=_own_keys(node))
    allowed = [str(item) for item in node]
    near = did_you_mean(names[0], allowed)
    return ConfigError(
        f"{key} is not a key of the configuration; allowed in {place}: {', '.join(allowed)}{near}"
    )


def _unknown_in_group(
    key: str, name: str, group: str, *, chosen: str, allowed: list[str]
) -> ConfigError:
    """Explain that the chosen launcher or sweeper has no such key, and which other one does."""
    members = {member: keys for member, keys in _members(group).items() if member != chosen}
    choice = f"hydra/{group}={chosen}"
    if owners := _owners(name, group, members):
        return ConfigError(
            f"{key} is not a key of {choice}, but of {owners}; choose that, or leave the key out."
        )
    end = did_you_mean(name, allowed)
    elsewhere = nearest(name, [item for keys in members.values() for item in keys])
    if not nearest(name, allowed) and elsewhere:
        end = f"; did you mean {elsewhere[0]} of {_owners(elsewhere[0], group, members)}?"
    return ConfigError(
        f"{key} is not a key of {choice}; allowed: {', '.join(allowed) or 'none'}{end}"
    )


def _owners(name: str, group: str, members: dict[str, list[str]]) -> str:
    """``hydra/launcher=ray or hydra/launcher=local``: the members that have a key; may be empty."""
    found = [member for member, keys in members.items() if name in keys]
    return " or ".join(f"hydra/{group}={member}" for member in found)


def _members(group: str) -> dict[str, list[str]]:
    """The keys of the members of a group that are files of ours."""
    files = (CONF / "hydra" / group).glob("*.yaml")
    return {path.stem: _own_keys(OmegaConf.load(path)) for path in sorted(files)}


def _own_keys(node: Any) -> list[str]:
    return [str(key) for key in node if key != "_target_"]
