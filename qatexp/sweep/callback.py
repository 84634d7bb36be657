"""Hydra's callback around sweeps. The object is pickled to the workers of any launcher."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from qatexp.config.variables import PARENT_RUN, SWEEP_STARTED


class SweepCallback(Callback):
    """Opens the sweep before its trials, hands them the parent run, and ends with a comparison."""

    def __init__(self) -> None:
        self.parent_run_id: str | None = None
        self.started = 0.0

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Start the parent run; without it the sweep would go on untracked, so a failure ends it.

        Hydra only warns about exceptions of callbacks, `SystemExit` gets through.
        """
        from qatexp.config.parse import parse
        from qatexp.errors import QatexpError
        from qatexp.sweep.grid import announced
        from qatexp.sweep.launchers import runs_here, warn_of_joblib
        from qatexp.sweep.opening import open_sweep
        from qatexp.tracking import begin_store

        warn_of_joblib(config.hydra.launcher)
        folder = Path(config.hydra.sweep.dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            common = parse(config)
            if begin_store(common.tracking, home=Path.cwd()) and runs_here(config.hydra.launcher):
                import_module("qatexp.pipeline")  # with torch, which the first trial would load
            session = open_sweep(common, folder, announced())
        except (QatexpError, OSError) as problem:
            raise SystemExit(f"qatexp: {problem}") from problem
        self.parent_run_id = session.run_id
        self.started = time.time()
        self._tell_trials()

    def on_job_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002  Hydra's signature
        """Tell the trial its parent, in whichever process it runs."""
        self._tell_trials()

    def _tell_trials(self) -> None:
        if self.parent_run_id is not None:
            os.environ[PARENT_RUN] = self.parent_run_id
        if self.started > 0:  # the process of a trial has it from the one that launched it
            os.environ[SWEEP_STARTED] = repr(self.started)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002  Hydra's signature
        """Compare the trials; any failed one makes the exit code 1."""
        from qatexp.sweep import session

        try:
            code = session.finish_open_sweep()
        except Exception as problem:  # Hydra would only warn, and the sweep end with code 0
            raise SystemExit(f"qatexp: the sweep cannot be compared: {problem}") from problem
        for name in (PARENT_RUN, SWEEP_STARTED):
            os.environ.pop(name, None)
        if code != 0:
            raise SystemExit(code)
