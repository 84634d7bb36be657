"""The plan of a sweep: its points, each with the number that it keeps; ``sweep.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatexp.errors import StoreError

PLAN_FILE = "sweep.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One trial that a sweep is to have."""

    number: int
    """Also the name of its folder."""
    overrides: tuple[str, ...]
    """Of the configuration, as on a command line."""
    fingerprint: str
    """Of the checked configuration and the code: a finished trial with it need not run again."""


@dataclass(frozen=True, slots=True)
class Search:
    """What makes a sweep a search, which adds points while it runs."""

    fingerprint: str
    """Of all that decides which points are tried: a command with it goes on with the search."""
    objectives: tuple[str, ...]
    """``max:deployed_top1``."""
    space: tuple[str, ...]
    """What is varied, as overrides."""
    n_trials: int
    """How many trials are to be finished in all."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """All points of a sweep in the order of their numbers."""

    overrides: tuple[str, ...]
    """Of the command that started the sweep."""
    points: tuple[Point, ...]
    mlflow_run_id: str | None = None
    """The parent run."""
    started_with: tuple[str, ...] = ()
    """Fingerprints of the points of that command: later ones may have added others."""
    has_ended: bool = False
    """Whether the sweep has been compared, and its parent run closed, since a trial ran last."""
    search: Search | None = None
    """None for a grid, whose points are known beforehand."""
    schema: int = SCHEMA

    @property
    def fingerprints(self) -> frozenset[str]:
        """What is to be run, in whatever order."""
        return frozenset(point.fingerprint for point in self.points)


def load_plan(folder: Path) -> SweepPlan:
    """Read the plan of a sweep's folder.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    path = folder / PLAN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise StoreError(f"{path} has schema {content['schema']}; this version reads {SCHEMA}")
        points = tuple(
            Point(item["number"], tuple(item["overrides"]), item["fingerprint"])
            for item in content["points"]
        )
        return SweepPlan(
            tuple(content["overrides"]),
            points,
            content["mlflow_run_id"],
            tuple(content["started_with"]),
            bool(content["has_ended"]),
            _search(content.get("search")),
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"no readable plan of a sweep in {folder}: {problem}") from problem


def _search(content: dict[str, Any] | None) -> Search | None:
    if content is None:
        return None
    objectives, space = tuple(content["objectives"]), tuple(content["space"])
    return Search(content["fingerprint"], objectives, space, content["n_trials"])
