"""From a finished run back to a checked configuration that computes the same once more."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qatexp.config.keys import is_around
from qatexp.config.parse import parse_plain, plain_config, plain_leaves
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.records import Record
from qatexp.rerun.changes import Change, with_changes
from qatexp.rerun.origin import Origin


@dataclass(frozen=True, slots=True)
class Restored:
    """What to compute, and how it was changed on purpose."""

    config: ExperimentConfig
    changes: tuple[Change, ...]
    added: tuple[Change, ...]
    """Keys that the original's version did not have, with today's defaults."""


def restore(origin: Origin, settings: Sequence[str] = (), *, tracked: bool = True) -> Restored:
    """Restore the configuration of a run, with its threads and device, and check it anew.

    Relative paths in it count from the folder that this process runs in. Nothing is read from the
    stage cache, or written there.

    Args:
        origin: a finished run.
        settings: ``KEY=VALUE``, keys that are changed on purpose.
        tracked: False logs nowhere, whatever the configuration says.

    Raises:
        ConfigError: it is not a configuration of this version, or what it asks for is not here.
    """
    pinned = _pinned(origin.config, origin.record)
    content, changes = with_changes(pinned, settings)
    content["cache"] = {**_branch(content, "cache"), "enabled": False}
    if not tracked:
        content["tracking"] = {**_branch(content, "tracking"), "enabled": False}
    _check_trust(content, settings, origin)
    try:
        config = parse_plain(content)
    except ConfigError as problem:
        raise ConfigError(f"{origin.source}: {_with_advice(problem, origin)}") from problem
    before = dict(plain_leaves(content))
    today = dict(plain_leaves(plain_config(config)))
    new = (key for key in today if key not in before and not is_around(key))
    added = tuple(Change(key, None, today[key]) for key in new)
    return Restored(config, changes, added)


def _branch(content: dict[str, Any], name: str) -> dict[str, Any]:
    branch = content.get(name)
    return branch if isinstance(branch, dict) else {}


def _pinned(config: dict[str, Any], record: Record) -> dict[str, Any]:
    """Put what the machine chose in place of `device: auto` and `trainer.threads: null`.

    Several devices train in processes of their own, whose thread counts no record tells.
    """
    pinned = copy.deepcopy(config)
    device, threads = record.environment.get("device"), record.environment.get("threads")
    if pinned.get("device") == "auto" and device is not None:
        pinned["device"] = device
    trainer = _branch(pinned, "trainer")
    if trainer.get("devices") == 1 and trainer.get("threads") is None and threads is not None:
        trainer["threads"] = threads
    return pinned


def _check_trust(content: dict[str, Any], settings: Sequence[str], origin: Origin) -> None:
    """A file must not vouch for the code that it names: whoever calls the command does."""
    named = content.get("trusted_packages") or []
    if named and not any(text.startswith("trusted_packages=") for text in settings):
        names = ",".join(map(str, named))
        raise ConfigError(
            f"{origin.source} runs code of packages that were named as trusted: {names}. If you "
            f"trust them, too, add --set trusted_packages=[{names}]."
        )


def _with_advice(problem: ConfigError, origin: Origin) -> str:
    if "is not a key of the configuration" in str(problem):
        version = origin.record.environment.get("versions", {}).get("qatexp")
        return f"{problem} The run was made by qatexp {version}; rerun it with that version."
    return f"{problem} For the rerun, --set KEY=VALUE changes a key."
