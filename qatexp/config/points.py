"""The points of a sweep: the overrides of each trial, as Hydra's own sweeper forms them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from qatexp.errors import ConfigError

GRID_SWEEPER = "GridSweeper"
"""The sweeper whose points are known beforehand; see `qatexp.sweep.grid`."""
SEARCH_SWEEPER = "hydra_plugins.qatexp_plugins.SearchSweeper"
"""The sweeper that asks Optuna; see `qatexp.sweep.search`."""


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Read overrides by Hydra's grammar.

    Raises:
        OverrideParseException: one of them does not follow it.
    """
    return OverridesParser.create().parse_overrides(list(overrides))


def sweep_points(overrides: Sequence[str], params: Mapping[str, Any]) -> list[list[str]]:
    """List the overrides of every trial of a grid.

    Args:
        overrides: of the command line.
        params: ``hydra.sweeper.params``; a key that the command line gives too is left out.

    Raises:
        ConfigError: values are no list to go through, or there are none.
    """
    everything = with_params(overrides, params)
    for item in everything:
        if item.is_interval_sweep():
            raise ConfigError(
                f"{item.input_line}: an interval has no values to go through one by one; list "
                "them, as in KEY=2,4,8, or add hydra/sweeper=optuna, which searches."
            )
        if item.is_sweep_override() and not list(item.sweep_iterator()):
            raise ConfigError(f"{item.input_line} gives no value; list at least one.")
    batches = BasicSweeper.split_arguments(everything, max_batch_size=None)
    return [list(point) for batch in batches for point in batch]


def with_params(overrides: Sequence[str], params: Mapping[str, Any]) -> list[Override]:
    """Overrides of a command line behind those of ``hydra.sweeper.params`` that it does not give.

    Raises:
        OverrideParseException: one of them does not follow Hydra's grammar.
    """
    given = {item.get_key_element() for item in parse_overrides(overrides)}
    swept = [f"{key}={value}" for key, value in params.items() if key not in given]
    return parse_overrides([*swept, *overrides])
