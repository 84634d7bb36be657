"""The MLflow experiment that runs are logged to: found or created, with a page that explains it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from qatexp.errors import TrackingError
from qatexp.tracking.uri import artifact_folder, sqlite_path
from qatexp.tracking.view import VIEW_TAG, experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

logger = logging.getLogger(__name__)


def ensure_experiment(client: MlflowClient, *, name: str, uri: str) -> str:
    """Find or create the experiment; give it a note where it has none, and today's saved view.

    Returns:
        The experiment's id.

    Raises:
        TrackingError: the experiment was deleted in MLflow.
    """
    experiment = _find_or_create(client, name=name, uri=uri)
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking.experiment={name} was deleted in {uri}. Choose another name, or restore it: "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    _warn_if_moved(experiment, uri=uri)
    experiment_id = str(experiment.experiment_id)
    for key, value in experiment_tags(experiment_id, since=experiment.creation_time).items():
        present = experiment.tags.get(key)
        # A note that somebody wrote in MLflow stays; the view follows this version of qatexp.
        if present is None or (key == VIEW_TAG and present != value):
            client.set_experiment_tag(experiment_id, key, value)
    return experiment_id


def _find_or_create(client: MlflowClient, *, name: str, uri: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return experiment
    try:
        # MLflow's own default would be a folder below the working folder of this process.
        database = sqlite_path(uri)
        location = None if database is None else artifact_folder(database).as_uri()
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return client.get_experiment_by_name(name)  # another process was faster


def _warn_if_moved(experiment: Experiment, *, uri: str) -> None:
    """MLflow freezes the folder of the artifacts when an experiment is created."""
    database, location = sqlite_path(uri), urlsplit(experiment.artifact_location)
    if database is None or location.scheme != "file":
        return
    frozen, expected = Path(url2pathname(location.path)), artifact_folder(database)
    if frozen != expected and not frozen.exists():
        logger.warning(
            "tracking.experiment=%s keeps its artifacts in %s, which is not there: was the store "
            "moved to %s? New artifacts go to the old place; choose another tracking.experiment.",
            experiment.name,
            frozen,
            expected.parent,
        )
