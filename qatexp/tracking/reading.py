"""Read the runs of an experiment back, for comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.config.schema import TrackingConfig
from qatexp.config.suggestions import LOOSE, nearest
from qatexp.errors import TrackingError
from qatexp.records import RECORD_FILE
from qatexp.tracking.client import connect, translated
from qatexp.tracking.overrides import OVERRIDES_TAG, overrides_of
from qatexp.tracking.uri import resolve_uri, sqlite_path
from qatexp.tracking.view import ANALYSIS_KIND, KIND_TAG, RERUN_KIND, SUPERSEDED_TAG, SWEEP_KIND

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PER_PAGE = 500


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One run of an experiment: a trial of a sweep, or a run of its own."""

    run_id: str
    folder: Path
    """Where its ``record.json`` was copied to; empty where the run has logged none."""
    sweep: str
    """Name of the sweep's parent run, its id where it was deleted; empty for a run of its own."""
    overrides: tuple[str, ...] | None
    """The overrides of its command line; None where none are logged."""


@dataclass(frozen=True, slots=True)
class LoggedRuns:
    """What an experiment holds to compare."""

    runs: tuple[LoggedRun, ...]
    """Those that are no sweep's parent and no analysis, the oldest first."""
    superseded: int = 0
    """How many were left out since their trial was started again."""
    reruns: int = 0
    """How many were left out since they repeat a run, to check it."""


def read_runs(config: TrackingConfig, *, home: Path, to: Path) -> LoggedRuns:
    """Copy the records of the runs of an experiment; nothing is written to the store.

    Args:
        config: the store, and the experiment's name.
        home: the project's folder, which holds `multirun/`.
        to: an empty folder that exists.

    Raises:
        TrackingError: the store cannot be read, or has no such experiment.
    """
    uri = resolve_uri(config, home=home)
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise TrackingError(f"there is no MLflow store at {database}; give another one by --uri")
    client = connect(uri)
    with translated(f"tracking.uri={uri} cannot be read"):
        experiment = client.get_experiment_by_name(config.experiment)
        if experiment is None:
            raise TrackingError(_unknown(client, config.experiment, uri))
        runs = list(_runs(client, str(experiment.experiment_id)))
    names = {run.info.run_id: str(run.info.run_name) for run in runs}
    kept, superseded, reruns = [], 0, 0
    for run in runs:
        kind = run.data.tags.get(KIND_TAG)
        if kind == RERUN_KIND:
            reruns += 1
        elif SUPERSEDED_TAG in run.data.tags:
            superseded += 1
        elif kind not in (SWEEP_KIND, ANALYSIS_KIND):
            kept.append(_logged(client, run, names, to))
    return LoggedRuns(tuple(kept), superseded, reruns)


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            max_results=_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _logged(client: MlflowClient, run: Run, names: dict[str, str], to: Path) -> LoggedRun:
    run_id = str(run.info.run_id)
    folder = to / run_id
    folder.mkdir()
    with translated(f"the record of run {run_id} cannot be read"):
        # What a download raises does not tell a file that is not there from a server that is not.
        if RECORD_FILE in {item.path for item in client.list_artifacts(run_id)}:
            client.download_artifacts(run_id, RECORD_FILE, str(folder))
    tags = run.data.tags
    parent = tags.get("mlflow.parentRunId", "")
    sweep = names.get(parent, parent)
    return LoggedRun(run_id, folder, sweep, overrides_of(tags.get(OVERRIDES_TAG, "")))


def _unknown(client: MlflowClient, name: str, uri: str) -> str:
    known = [str(experiment.name) for experiment in client.search_experiments()]
    near = nearest(name, known, likeness=LOOSE) or known[:6]
    return f"--experiment={name}: {uri} has no such experiment; it has {', '.join(near)}"
