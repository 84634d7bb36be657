"""The sweeper: hands the launcher those points of a plan that are not finished."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from qatexp.records.plan import SweepPlan
from qatexp.sweep.resume import is_finished
from qatexp.sweep.sweeper import PlannedSweeper

log = logging.getLogger(__name__)

_announced: list[SweepPlan] = []
"""The plan of this process's command, made and checked before Hydra was started."""


def announce(plan: SweepPlan) -> None:
    """Say what the next sweep of this process has to do."""
    _announced[:] = [plan]


def announced() -> SweepPlan | None:
    """The plan that was announced; None where another sweeper chooses its points on its way."""
    return _announced[0] if _announced else None


class GridSweeper(PlannedSweeper):
    """Launches the points that the command line has planned, under the numbers they have there.

    Args:
        params: further overrides with several values, as ``hydra.sweeper.params``; the plan has
            them already.
    """

    def __init__(self, params: DictConfig | None = None) -> None:
        super().__init__()
        self.params = params

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Launch what is left to do; the results lie in the trials' records."""
        del arguments  # the plan was made of them
        plan = announced()
        assert plan is not None, "a sweep starts with the command line, which plans it"
        folder = self.prepared_folder()
        left = [point for point in plan.points if not is_finished(folder, point)]
        done = len(plan.points) - len(left)
        if done:
            log.info("%d of %d trials are finished already", done, len(plan.points))
        if not left:
            return []
        # Launchers count from 0; the folder is that of the point's own number.
        batch = [
            [*map(_repeatable, point.overrides), f"hydra.sweep.subdir='{point.number}'"]
            for point in left
        ]
        results: Sequence[Any] = self.launcher.launch(batch, initial_job_idx=0)
        return results


def _repeatable(override: str) -> str:
    """An override that Hydra's launchers may give twice: those of Hydra's own keys, they do."""
    return f"+{override}" if override.startswith(("+hydra.", "+hydra/")) else override
