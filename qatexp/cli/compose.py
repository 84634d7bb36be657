"""Compose and check what a command line asks for, before anything is started or written."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from qatexp.config.keys import is_open, unknown_key
from qatexp.config.parse import parse
from qatexp.config.schema import ExperimentConfig
from qatexp.config.sources import CONF
from qatexp.errors import ConfigError

_NO_SUCH_KEY = re.compile(r"Could not override '([^']+)'\.\nTo append")

CONFIG_NAME = "config"
VERSION_BASE = "1.3"
"""Hydra's behaviour that the configuration was written for; named here alone."""


def checked_points(options: Namespace) -> list[ExperimentConfig]:
    """Compose and parse every experiment of a command line: one, or each point of a sweep.

    Args:
        options: what Hydra's own argument parser made of the command line.

    Raises:
        ConfigError: for the first point that is wrong; nothing has been started.
    """
    overrides = list(options.overrides)
    if options.config_dir is not None:
        folder = Path(options.config_dir).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {options.config_dir}: there is no such folder.")
        quoted = str(folder).replace("'", r"\'")
        overrides.append(f"hydra.searchpath=['file://{quoted}']")
    name = options.config_name or CONFIG_NAME
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        if not options.multirun:
            return [parse(_compose(name, overrides))]
        return [parse(_compose(name, point)) for point in _points(name, overrides)]


def _points(name: str, overrides: list[str]) -> list[list[str]]:
    """The overrides of every point of a sweep, from the command line and `hydra.sweeper.params`."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    fixed = [item.input_line for item in parsed if not item.is_sweep_override()]
    assert all(line is not None for line in fixed)
    base = _compose(name, [str(line) for line in fixed], hydra=True)
    if not str(base.hydra.sweeper._target_).endswith("BasicSweeper"):
        return [[str(line) for line in fixed]]
    params = base.hydra.sweeper.params or {}
    given = {item.get_key_element() for item in parsed}
    swept = [f"{key}={value}" for key, value in params.items() if key not in given]
    everything = OverridesParser.create().parse_overrides([*swept, *overrides])
    batches = BasicSweeper.split_arguments(everything, max_batch_size=None)
    return [list(point) for batch in batches for point in batch]


def _compose(name: str, overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    try:
        composed = compose(name, overrides=list(overrides), return_hydra_config=hydra)
    except (HydraException, OmegaConfBaseException) as problem:
        unknown = _NO_SUCH_KEY.match(str(problem))
        if unknown is not None and not is_open(unknown[1]):
            # Hydra advises to append it, which no branch but the open ones would take.
            raise unknown_key(unknown[1]) from problem
        raise ConfigError(_first_lines(problem)) from problem
    except ValueError as problem:  # Hydra's word for model=null, without the key
        raise ConfigError(f"{' '.join(overrides)}: {problem}") from problem
    return composed


def _first_lines(problem: Exception) -> str:
    """Hydra's message without its search-path listing and its advice about `HYDRA_FULL_ERROR`."""
    lines = [line.rstrip() for line in str(problem).splitlines() if line.strip()]
    kept: list[str] = []
    for line in lines:
        if line.startswith(("Config search path", "\tprovider", "Set the environment")):
            break
        if line.startswith("\t") and kept:
            # The members of a group, one per line: there may be a hundred.
            kept[-1] += f"{' ' if kept[-1].endswith(':') else ', '}{line.strip()}"
        elif not line.strip().startswith(("full_key", "object_type", "reference_type")):
            kept.append(line)
    return "\n".join(kept)
