"""What ``qatexp rerun`` does: a finished run once more, and whether it gives the same figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from qatexp.cli.console import complain, log_to
from qatexp.config.schema import TrackingConfig
from qatexp.errors import QatexpError
from qatexp.rerun.origin import Origin, load_origin
from qatexp.rerun.restore import Restored, restore

log = logging.getLogger(__name__)

KIND = "rerun"
"""Folder below ``multirun/``."""


def rerun(run: str, store: TrackingConfig, *, settings: Sequence[str], tracked: bool) -> int:
    """Check the request, then compute; 0 all figures are equal, 1 some differ or it failed.

    Raises:
        QatexpError: the request is wrong; nothing was started.
    """
    from qatexp.cli.application import check_surroundings
    from qatexp.cli.folders import new_folder

    origin = load_origin(run, store, home=Path.cwd())
    restored = restore(origin, settings, tracked=tracked)
    check_surroundings([restored.config], "the rerun's folder", Path("multirun") / KIND)
    folder = new_folder(KIND)
    log_to(folder)
    log.info("rerun of %s, on device=%s, in %s", origin.source, restored.config.device, folder)
    try:
        return _rerun(origin, restored, folder, settings)
    except QatexpError as problem:
        if restored.config.debug.traceback:
            raise
        complain(str(problem))
        return 1


def _rerun(origin: Origin, restored: Restored, folder: Path, settings: Sequence[str]) -> int:
    from rich.console import Console

    from qatexp.rerun.replay import replay
    from qatexp.rerun.show import print_verdict
    from qatexp.tracking import ui_hint

    done = replay(origin, restored, folder, settings)
    if done.verdict is None:
        error = done.record.error or {}
        complain(f"{error.get('stage')} failed: {error.get('message')}")
        complain(
            f"the log is {folder / 'qatexp.log'}; --set debug.traceback=true shows a traceback"
        )
        return 1
    console = Console()
    print_verdict(done.verdict, origin.source, console)
    console.print(f"Files: {os.path.relpath(folder)}", soft_wrap=True)
    if done.record.mlflow_run_id is not None:
        console.print(ui_hint(), soft_wrap=True)
    return 0 if done.verdict.is_equal else 1
