"""What the sweepers share. Light: Hydra imports it with every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf


class PlannedSweeper(Sweeper):
    """Launches trials of a plan that the command line has made and checked."""

    def __init__(self) -> None:
        self.launcher: Any = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Set up the launcher; called by Hydra."""
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def prepared_folder(self) -> Path:
        """The sweep's folder, with the configuration of the sweep in it."""
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return folder
