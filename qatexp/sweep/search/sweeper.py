"""The sweeper of searches, as Hydra knows it. Light: Hydra imports it with every command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from qatexp.errors import QatexpError

if TYPE_CHECKING:
    from qatexp.sweep.search.planning import SearchTask

_announced: list[SearchTask] = []
"""What this process's command searches, checked before Hydra was started."""


def announce_search(task: SearchTask) -> None:
    """Say what the next search of this process has to do."""
    _announced[:] = [task]


class SearchSweeper(Sweeper):
    """Has Optuna choose points, and launches them, until enough trials are finished.

    Args:
        settings: the keys below ``hydra.sweeper``; the command line has read them already.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.launcher: Any = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Set up the launcher; called by Hydra."""
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Search; the results lie in the trials' records."""
        from qatexp.sweep.search.run import run_search

        del arguments  # the task was made of them
        assert self.config is not None
        assert _announced, "a search starts with the command line, which checks it"
        folder = Path(self.config.hydra.sweep.dir)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        try:
            run_search(_announced[0], folder, self.launcher.launch)
        except QatexpError as problem:
            raise SystemExit(f"qatexp: {problem}") from problem
        return []
