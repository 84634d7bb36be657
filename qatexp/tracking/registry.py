"""A run's model as a version of a registered model, found again by an alias."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatexp.errors import TrackingError
from qatexp.tracking.names import tag_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


VERSIONS_TAG = "mlflow.modelVersions"


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a registered model, with the alias that points at it."""

    model: str
    version: int
    alias: str

    @property
    def uri(self) -> str:
        """What MLflow loads it by."""
        return f"models:/{self.model}@{self.alias}"


def register(
    client: MlflowClient,
    *,
    is_remote: bool,
    run_id: str,
    variant: str,
    model: str,
    alias: str,
    tags: Mapping[str, Any],
    note: str,
) -> Registered:
    """Make a run's logged model a version, unless it is one already, and point the alias at it.

    Nothing is uploaded: the version refers to the files that the run has logged.

    Args:
        client: of the store of both, runs and registered models.
        is_remote: whether the store is an MLflow server.
        run_id: a finished run.
        variant: name of its logged model, ``qat``.
        model: name of the registered model, which is created where it is missing.
        alias: is taken from whichever version has it.
        tags: of the version; those of an earlier registration are written anew.
        note: Markdown, shown on the version's page.

    Raises:
        TrackingError: the run has logged no such model.
    """
    logged = _logged_model(client, run_id, variant)
    _ensure_model(client, model)
    texts = {key: tag_text(key, value) for key, value in tags.items()}
    versions = client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    # A server takes no path of its own disk; without one, MLflow (3.17) looks models:/ up in the
    # process's global store, which need not be this one.
    source = f"models:/{logged.model_id}" if is_remote else logged.artifact_location
    found = [item for item in versions if item.source == source]
    if found:
        version = max(int(item.version) for item in found)
        for key, text in texts.items():
            client.set_model_version_tag(model, str(version), key, text)
    else:
        made = client.create_model_version(
            model, source=source, run_id=run_id, model_id=logged.model_id, tags=texts
        )
        version = int(made.version)
        _link(client, logged, model, version)
    client.update_model_version(model, str(version), description=note)
    client.set_registered_model_alias(model, alias, str(version))
    return Registered(model, version, alias)


def version_at(client: MlflowClient, *, model: str, alias: str) -> int | None:
    """The version that an alias points at; None where there is no such model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(model, alias).version)
    except MlflowException as problem:
        if problem.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def _logged_model(client: MlflowClient, run_id: str, variant: str) -> LoggedModel:
    outputs = client.get_run(run_id).outputs
    for output in () if outputs is None else outputs.model_outputs:
        logged = client.get_logged_model(output.model_id)
        if logged.name == variant:
            return logged
    raise TrackingError(f"run {run_id} has logged no model {variant}")


def _link(client: MlflowClient, logged: LoggedModel, model: str, version: int) -> None:
    """Have the pages of run and model name the version, as `mlflow.register_model` does."""
    known = json.loads(logged.tags.get(VERSIONS_TAG) or "[]")
    entry = {"name": model, "version": version}
    client.set_logged_model_tags(logged.model_id, {VERSIONS_TAG: json.dumps([*known, entry])})


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
