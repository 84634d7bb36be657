"""What a trial finds in its folder, and in its sweep's, before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from qatexp.errors import StoreError
from qatexp.records import RECORD_FILE, Record, load_record
from qatexp.sweep.callback import SWEEP_STARTED


def earlier_run(folder: Path) -> str | None:
    """The MLflow run of an earlier attempt at this trial, None where there was none."""
    try:
        return load_record(folder).mlflow_run_id
    except StoreError:
        return None


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
