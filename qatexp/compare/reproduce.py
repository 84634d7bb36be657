"""The command that reproduces a run, from what Hydra wrote into its folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from qatexp.compare.collect import Trial

_DEFAULT_CONFIG = "config"
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, quoted for a POSIX shell."""

    line: str
    folder: str
    """The working directory that relative paths of the command start from; empty if not known."""


def trial_command(trial: Trial) -> Command | None:
    """The command line of a trial, from what was logged of it or from its folder."""
    if trial.overrides is not None:
        return Command(shlex.join(["qatexp", *trial.overrides]), "")
    return command(trial.folder)


def command(run: Path) -> Command | None:
    """The command line of a run, or of one trial of a sweep.

    Args:
        run: its folder, with Hydra's ``.hydra/``.

    Returns:
        None where Hydra's files are missing or not to be read.
    """
    try:
        # Plain values without interpolations: the parser in C reads them ten times faster.
        text = (run / ".hydra" / "hydra.yaml").read_text(encoding="utf-8")
        return _command(yaml.load(text, Loader=_SafeLoader)["hydra"])  # noqa: S506  it is a safe one
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def _command(hydra: Any) -> Command:
    words = ["qatexp"]
    if hydra["job"]["config_name"] not in (None, _DEFAULT_CONFIG):
        words += ["--config-name", hydra["job"]["config_name"]]
    sources = hydra["runtime"]["config_sources"]
    # A sweep that goes on has the folder of --config-dir as hydra.searchpath.
    first, *others = dict.fromkeys(
        source["path"] for source in sources if source["provider"].endswith("command-line")
    ) or [None]
    words += [] if first is None else ["--config-dir", first]
    further = ",".join(f"'file://{path}'" for path in others)
    words += [f"hydra.searchpath=[{further}]"] if further else []
    return Command(shlex.join([*words, *hydra["overrides"]["task"]]), hydra["runtime"]["cwd"])
