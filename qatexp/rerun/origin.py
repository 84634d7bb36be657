"""The run to compute again: its resolved configuration and its record, from a folder or a store."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatexp.config.schema import TrackingConfig
from qatexp.errors import ConfigError, StoreError
from qatexp.records import CONFIG_FILE, RECORD_FILE, Record, from_dict
from qatexp.tracking import fetch_texts


@dataclass(frozen=True, slots=True)
class Origin:
    """A finished run, as it was left."""

    source: str
    """The folder, or the run id and its store, as named to the user."""
    run_id: str | None
    config: dict[str, Any]
    """The whole resolved configuration in JSON types, as `plain_config` wrote it."""
    record: Record


def load_origin(run: str, store: TrackingConfig, *, home: Path) -> Origin:
    """Read configuration and record of a finished run.

    Args:
        run: a run's folder, or an MLflow run id.
        store: where the run id is looked for.
        home: The project's folder, which holds `multirun/`.

    Raises:
        StoreError: the files are missing or unreadable.
        TrackingError: the store does not have the run.
        ConfigError: the run has not finished.
    """
    folder = Path(run).expanduser()
    if folder.exists() or os.sep in run:
        source, texts = f"folder {run}", _read(folder)
    else:
        source = f"run {run}"
        texts = fetch_texts(store, run, (CONFIG_FILE, RECORD_FILE), home=home)
    try:
        record = from_dict(json.loads(texts[RECORD_FILE]))
        config = json.loads(texts[CONFIG_FILE])
    except (ValueError, AttributeError, StoreError) as problem:
        raise StoreError(f"{source} cannot be rerun: {problem}") from problem
    if not isinstance(config, dict):
        raise StoreError(f"{source} cannot be rerun: {CONFIG_FILE} holds no configuration")
    _check_finished(record, source)
    return Origin(source, record.mlflow_run_id, config, record)


def _read(folder: Path) -> dict[str, str]:
    texts = {}
    for name in (RECORD_FILE, CONFIG_FILE):
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else problem
            raise StoreError(
                f"folder {folder} cannot be rerun: {name}: {reason}; give the folder of a run "
                "(of one trial, where it was a sweep), or an MLflow run id."
            ) from problem
    return texts


def _check_finished(record: Record, source: str) -> None:
    if record.status == "finished":
        return
    where = "" if record.error is None else f" in {record.error['stage']}"
    raise ConfigError(
        f"{source} is {record.status}{where}: only a finished run has figures to compare with. "
        "Give the command of that run once more, which goes on from its finished stages, and "
        "rerun what has finished."
    )
