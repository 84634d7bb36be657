"""What a trial finds in its folder, and in its sweep's, and what it leaves there in any case."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from qatexp.config.parse import flat_params
from qatexp.config.schema import ExperimentConfig
from qatexp.config.variables import SWEEP_STARTED, TRIAL
from qatexp.errors import StoreError, TrackingError
from qatexp.records import (
    CONFIG_FINGERPRINT,
    RECORD_FILE,
    START_STAGE,
    TRACKING_STAGE,
    Record,
    load_record,
)
from qatexp.records.ending import ending_of
from qatexp.records.plan import Point, load_plan
from qatexp.store.atomic import write_text
from qatexp.sweep.resume import ENDED, is_finished

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
"""Of <sys/prctl.h>."""


def earlier_run(folder: Path) -> str | None:
    """The MLflow run of an earlier attempt at this trial, None where there was none."""
    try:
        return load_record(folder).mlflow_run_id
    except StoreError:
        return None


def planned_fingerprint(folder: Path) -> str | None:
    """What the plan of its sweep calls this trial; None for a run that no plan has.

    It is not found anew here: a download of the first trial, for instance, changes what others see.
    """
    point = _planned(folder)
    return None if point is None else point.fingerprint


def _planned(folder: Path) -> Point | None:
    try:
        points = load_plan(folder.parent).points
    except StoreError:
        return None
    return next((point for point in points if str(point.number) == folder.name), None)


def is_done(folder: Path) -> bool:
    """Whether a trial has ended as the plan of its sweep asks for, pruned by its search or not."""
    point = _planned(folder)
    return point is not None and is_finished(folder.parent, point, statuses=ENDED)


def own_overrides(folder: Path, overrides: Sequence[str]) -> list[str]:
    """The overrides in which a trial differs from others of its sweep's plan.

    All of them where there is no plan, or nothing differs: those that all have say nothing of one.
    """
    try:
        points = load_plan(folder.parent).points
    except StoreError:
        return list(overrides)
    return apart([overrides, *(point.overrides for point in points)])[0]


def apart(everybody: Sequence[Sequence[str]]) -> list[list[str]]:
    """The overrides of each trial without those that all have; all of them where none is left."""
    common = set.intersection(*map(set, everybody))
    own = ([item for item in overrides if item not in common] for overrides in everybody)
    return [found or list(overrides) for found, overrides in zip(own, everybody, strict=True)]


def mark_started(folder: Path) -> None:
    """Have an earlier record of a trial say running: whatever ends this attempt, it is not that."""
    with suppress(StoreError):
        record = replace(load_record(folder), status="running", error=None)
        write_text(folder / RECORD_FILE, record.to_json())


@contextmanager
def attempt(config: ExperimentConfig, folder: Path) -> Iterator[None]:
    """Run one trial inside: whatever ends it, its record says so, and nothing of an earlier one.

    The pipeline writes the record of a run that has begun. What ends one before, a tracking server
    that is gone for instance, is written here, in whichever process the trial runs.
    """
    mark_started(folder)
    try:
        yield
    except BaseException as problem:
        _leave_end(config, folder, problem)
        raise


def _leave_end(config: ExperimentConfig, folder: Path, problem: BaseException) -> None:
    try:
        earlier = load_record(folder)
    except StoreError:
        earlier = None
    if earlier is not None and earlier.status != "running":
        return
    stage = TRACKING_STAGE if isinstance(problem, TrackingError) else START_STAGE
    status, error = ending_of(problem, stage)
    planned = planned_fingerprint(folder)
    record = Record(
        name=config.name,
        status=status,
        params=flat_params(config),
        mlflow_run_id=None if earlier is None else earlier.mlflow_run_id,
        fingerprints={} if planned is None else {CONFIG_FINGERPRINT: planned},
        error=error,
    )
    try:
        write_text(folder / RECORD_FILE, record.to_json())
    except StoreError as further:  # the reason itself comes first
        log.warning("%s", further)


def end_with_parent() -> None:
    """Have the system kill this process when the one that launched it dies (Linux).

    Nobody would wait for it any more, and the same command must not meet it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[TRIAL]):  # it has died already
            raise SystemExit(128 + signal.SIGKILL)


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
    error = {"stage": START_STAGE, "kind": "max_failures", "message": message}
    return Record(name=name, status="skipped", params=params, error=error)


def _has_failed(file: Path) -> bool:
    try:
        return load_record(file.parent).status == "failed"
    except StoreError:
        return False
