"""What a trial finds in its folder, and in its sweep's, before it starts."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from qatexp.config.variables import SWEEP_STARTED
from qatexp.errors import StoreError
from qatexp.records import RECORD_FILE, Record, load_record

_PR_SET_PDEATHSIG = 1
"""Of <sys/prctl.h>."""


def earlier_run(folder: Path) -> str | None:
    """The MLflow run of an earlier attempt at this trial, None where there was none."""
    try:
        return load_record(folder).mlflow_run_id
    except StoreError:
        return None


def end_with_parent() -> None:
    """Have the system send SIGTERM to this process when the one that launched it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:  # it has died already
            raise SystemExit(128 + signal.SIGTERM)


def too_many_failures(folder: Path, most: int | None) -> bool:
    """Whether so many trials beside `folder` have failed since the sweep was started."""
    if most is None:
        return False
    since = float(os.environ.get(SWEEP_STARTED, "0"))
    files = folder.parent.glob(f"*/{RECORD_FILE}")
    failed = sum(_has_failed(file) for file in files if file.stat().st_mtime >= since)
    return failed >= most


def skipped(name: str, params: dict[str, object], most: int | None) -> Record:
    """The record of a trial that does not start any more."""
    message = f"not started, as sweep.max_failures={most} trials had failed"
    error = {"stage": "start", "kind": "max_failures", "message": message}
    return Record(name=name, status="skipped", params=params, error=error)


def _has_failed(file: Path) -> bool:
    try:
        return load_record(file.parent).status == "failed"
    except StoreError:
        return False
