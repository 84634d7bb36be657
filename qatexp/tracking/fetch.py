"""Read what a run has left in a store, without creating or changing anything in it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking.client import connect, quiet, translated
from qatexp.tracking.preflight import check_reachable
from qatexp.tracking.uri import resolve_uri, sqlite_path
from qatexp.tracking.view import KIND_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HOW_TO_FIND = (
    "A run's id stands in its record.json (mlflow_run_id) and on its page (qatexp ui); the run's "
    "folder will do, too"
)


def fetch_texts(
    config: TrackingConfig, run_id: str, names: Sequence[str], *, home: Path
) -> dict[str, str]:
    """Fetch text files from the top of a run's artifacts.

    Args:
        config: whose store; its experiment only serves the message about an unknown id.
        run_id: of a run in any experiment of the store.
        names: of the files.
        home: The project's folder, which holds `multirun/`.

    Raises:
        TrackingError: there is no such store, run or file, or it cannot be read.
    """
    uri = resolve_uri(config, home=home)
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise TrackingError(
            f"run {run_id} was looked for in {uri}, and there is no such store; change to the "
            f"folder that the run was started in, or name its store with --uri. {HOW_TO_FIND}."
        )
    check_reachable(uri)
    client = connect(uri)
    with quiet(), translated(f"run {run_id} cannot be read from {uri}"):
        run = _get_run(client, run_id, uri=uri, experiment=config.experiment)
        present = {item.path for item in client.list_artifacts(run_id)}
        if missing := [name for name in names if name not in present]:
            raise _without(run, missing[0], uri=uri)
        return {name: _text(client, run_id, name) for name in names}


def _get_run(client: MlflowClient, run_id: str, *, uri: str, experiment: str) -> Run:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as problem:
        if problem.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        newest = _newest(client, experiment)
        raise TrackingError(
            f"there is no run {run_id} in {uri}. {HOW_TO_FIND}{newest}."
        ) from problem


def _newest(client: MlflowClient, experiment: str) -> str:
    """Name one run as an example, where the experiment has one."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return f". There is no experiment {experiment} there"
    condition = f"attributes.status = 'FINISHED' and tags.`{KIND_TAG}` = 'single'"
    runs = client.search_runs([found.experiment_id], condition, max_results=1)
    if not runs:
        return ""
    return f". The newest single run of experiment {experiment} is {runs[0].info.run_id}"


def _without(run: Run, name: str, *, uri: str) -> TrackingError:
    kind, status = run.data.tags.get(KIND_TAG, "unknown"), str(run.info.status).lower()
    advice = {
        "sweep": "give one of its trials",
        "analysis": "only runs and trials have one",
    }.get(kind, "it is written when a run has ended")
    return TrackingError(
        f"run {run.info.run_id} in {uri} (kind {kind}, {status}) has no {name}: {advice}."
    )


def _text(client: MlflowClient, run_id: str, name: str) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(client.download_artifacts(run_id, name, scratch))
        return path.read_text(encoding="utf-8")
