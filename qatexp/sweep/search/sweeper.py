"""The sweeper of searches, as Hydra knows it. Light: Hydra imports it with every command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qatexp.errors import QatexpError
from qatexp.sweep.sweeper import PlannedSweeper

if TYPE_CHECKING:
    from qatexp.sweep.search.planning import SearchTask

_announced: list[SearchTask] = []
"""What this process's command searches, checked before Hydra was started."""


def announce_search(task: SearchTask) -> None:
    """Say what the next search of this process has to do."""
    _announced[:] = [task]


class SearchSweeper(PlannedSweeper):
    """Has Optuna choose points, and launches them, until enough trials are finished.

    Args:
        settings: the keys below ``hydra.sweeper``; the command line has read them already.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Search; the results lie in the trials' records."""
        from qatexp.sweep.search.run import run_search

        del arguments  # the task was made of them
        assert _announced, "a search starts with the command line, which checks it"
        folder = self.prepared_folder()
        try:
            run_search(_announced[0], folder, self.launcher.launch)
        except QatexpError as problem:
            raise SystemExit(f"qatexp: {problem}") from problem
        return []
