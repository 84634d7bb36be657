"""Compute a restored run in a folder of its own, tracked as a rerun, and judge it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatexp.config.parse import flat_params
from qatexp.errors import TrackingError
from qatexp.pipeline import run
from qatexp.records import Record
from qatexp.rerun.origin import Origin
from qatexp.rerun.reasons import find_reasons
from qatexp.rerun.restore import Restored
from qatexp.rerun.verdict import Verdict, compare_figures, compare_latencies
from qatexp.store.atomic import write_text
from qatexp.tracking import (
    OVERRIDES_TAG,
    RERUN_KIND,
    RunLog,
    open_store,
    overrides_text,
    sigterm_raises,
)

log = logging.getLogger(__name__)

RERUN_FILE = "rerun.json"
ORIGIN_TAG = "qatexp.rerun_of"


@dataclass(frozen=True, slots=True)
class Replay:
    """A run that was computed again; without a verdict where it failed."""

    record: Record
    verdict: Verdict | None


def replay(origin: Origin, restored: Restored, folder: Path, settings: Sequence[str]) -> Replay:
    """Run what was restored and compare it; record, files and verdict go to `folder`.

    Args:
        origin: the finished run.
        restored: its configuration, checked.
        folder: of the rerun; it exists.
        settings: what was changed on purpose, as it was given.

    Raises:
        QatexpError: tracking cannot be started, or the verdict cannot be written.
    """
    with ExitStack() as stack:
        stack.enter_context(sigterm_raises())
        tracker = _open_run(stack, origin, restored, folder, settings)
        record = run(restored.config, folder, tracker=tracker)
        verdict = _judge(origin, restored, record) if record.status == "finished" else None
        _write(origin, record, verdict, folder)
        _track(tracker, folder / RERUN_FILE)
    return Replay(record, verdict)


def _open_run(
    stack: ExitStack, origin: Origin, restored: Restored, folder: Path, settings: Sequence[str]
) -> RunLog | None:
    config = restored.config
    if not config.tracking.enabled:
        return None
    tags = {
        "qatexp.folder": str(folder.absolute()),
        OVERRIDES_TAG: overrides_text(settings),
        ORIGIN_TAG: origin.run_id or origin.source,
    }
    started = open_store(config.tracking, home=Path.cwd()).start_run(
        name=f"{config.name} {RERUN_KIND}", params=flat_params(config), tags=tags, kind=RERUN_KIND
    )
    return stack.enter_context(started)


def _judge(origin: Origin, restored: Restored, record: Record) -> Verdict:
    return Verdict(
        figures=compare_figures(origin.record, record),
        latencies=compare_latencies(origin.record, record),
        reasons=find_reasons(origin.record, record, changes=restored.changes, added=restored.added),
    )


def _write(origin: Origin, record: Record, verdict: Verdict | None, folder: Path) -> None:
    content: dict[str, Any] = {
        "original": {"source": origin.source, "mlflow_run_id": origin.run_id},
        "rerun": {"mlflow_run_id": record.mlflow_run_id},
    }
    found = {"verdict": "failed", "error": record.error} if verdict is None else verdict.to_dict()
    write_text(folder / RERUN_FILE, json.dumps(content | found, indent=2) + "\n")


def _track(tracker: RunLog | None, file: Path) -> None:
    """The run itself has ended in MLflow: a verdict that is not logged costs only a warning."""
    if tracker is None:
        return
    try:
        tracker.log_artifacts([file])
    except TrackingError as problem:
        log.warning("%s", problem)
