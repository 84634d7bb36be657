"""From the points that a command line asks for to the plan of a sweep."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.records.plan import PLAN_FILE, Point, SweepPlan
from qatexp.store.atomic import write_text
from qatexp.store.lock import moment_lock
from qatexp.sweep.identity import trial_fingerprint

log = logging.getLogger(__name__)

PLAN_LOCK_FILE = ".plan.lock"


def plan_sweep(
    overrides: Sequence[str], points: Sequence[tuple[Sequence[str], ExperimentConfig]]
) -> SweepPlan:
    """Number the points from 0; of several that are the same experiment the first one stays.

    Args:
        overrides: of the command line.
        points: overrides and checked configuration of each.
    """
    kept: dict[str, Point] = {}
    for own, config in points:
        fingerprint = trial_fingerprint(config)
        kept.setdefault(fingerprint, Point(len(kept), tuple(own), fingerprint))
    if len(kept) < len(points):
        log.warning(
            "%d of %d points are the same experiment as another one, and left out",
            len(points) - len(kept),
            len(points),
        )
    return SweepPlan(tuple(overrides), tuple(kept.values()), started_with=tuple(kept))


def replanned(
    earlier: SweepPlan, points: Sequence[tuple[Sequence[str], ExperimentConfig]]
) -> SweepPlan:
    """The plan of an earlier sweep with its own numbers, for the code and files of today.

    Args:
        earlier: the plan.
        points: overrides and configurations of its points, in their order.
    """
    numbered = tuple(
        replace(point, overrides=tuple(own), fingerprint=trial_fingerprint(config))
        for point, (own, config) in zip(earlier.points, points, strict=True)
    )
    return replace(earlier, points=numbered)


def write_plan(plan: SweepPlan, folder: Path) -> None:
    """Write ``sweep.json`` atomically.

    Raises:
        StoreError: it cannot be written.
    """
    write_text(folder / PLAN_FILE, json.dumps(asdict(plan), indent=1) + "\n")


@contextmanager
def plan_lock(folder: Path) -> Iterator[None]:
    """Keep the plan of a folder to this process for a moment: others may work on its search too."""
    with moment_lock(folder / PLAN_LOCK_FILE):
        yield


def with_points_of(file: str, points: Sequence[Sequence[str]]) -> list[list[str]]:
    """Combine each point of a file with each of a grid.

    Args:
        file: `sweep.points`, YAML: a list whose items are mappings of keys to values, or lists of
            overrides.
        points: overrides of each point of the command line.

    Raises:
        ConfigError: the file cannot be read, or is no such list.
    """
    listed = [_overrides(file, index, item) for index, item in enumerate(_items(file))]
    return [[*common, *own] for own, common in product(listed, points)]


def _items(file: str) -> list[Any]:
    try:
        content = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigError(f"sweep.points={file} cannot be read: {reason}.") from problem
    if not isinstance(content, list) or not content:
        raise ConfigError(
            f"sweep.points={file} holds no list; allowed: a YAML list of points, each a mapping "
            "such as {qconfig.bits: 4, seed: 1}, or a list of overrides."
        )
    return content


def _overrides(file: str, index: int, item: Any) -> list[str]:
    if isinstance(item, dict):
        return [f"{key}={_text(value)}" for key, value in item.items()]
    if isinstance(item, list) and all(isinstance(part, str) for part in item):
        return list(item)
    raise ConfigError(
        f"sweep.points={file}: point {index} is {item!r}; allowed: a mapping of keys to values, "
        "or a list of overrides."
    )


def _text(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", r"\'") + "'"
    return str(value)
