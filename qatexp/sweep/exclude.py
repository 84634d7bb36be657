"""`sweep.exclude`: points of a grid that are left out, by expressions over their settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from qatexp.config.parse import flat_params
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError

log = logging.getLogger(__name__)

AskedPoint = tuple[list[str], ExperimentConfig]
"""Overrides of a point, and its checked configuration."""


def without_excluded(expressions: Sequence[str], points: list[AskedPoint]) -> list[AskedPoint]:
    """Leave out the points for which one of the expressions holds.

    Args:
        expressions: in the language of ``qatexp compare --where``, over settings alone.
        points: all points of the sweep.

    Raises:
        ConfigError: an expression cannot be read, or no point is left.
    """
    if not expressions:
        return points
    # The tables that it comes with take their time to load.
    from qatexp.compare.where import WhereError, holds, parse, vocabulary_of

    values = [flat_params(config) for _, config in points]
    names = vocabulary_of(tuple(dict.fromkeys(key for each in values for key in each)), {})
    dropped = set[int]()
    for text in expressions:
        try:
            tree = parse(text, names.resolve)
            found = {index for index, each in enumerate(values) if holds(tree, each)}
        except WhereError as problem:
            raise ConfigError(f"sweep.exclude: in {text!r}, {problem}") from problem
        if not found:
            log.warning("sweep.exclude: %r holds for no point", text)
        dropped |= found
    if len(dropped) == len(points):
        raise ConfigError(f"sweep.exclude={list(expressions)} leaves none of {len(points)} points.")
    log.info("sweep.exclude leaves out %d of %d points", len(dropped), len(points))
    return [point for index, point in enumerate(points) if index not in dropped]
