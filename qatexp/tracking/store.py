"""The store that runs and sweeps are logged to."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.machine.processes import this_process
from qatexp.tracking.client import connect, translated
from qatexp.tracking.database import begin_database, ensure_database
from qatexp.tracking.experiment import ensure_experiment
from qatexp.tracking.names import tag_text
from qatexp.tracking.processes import PROCESS_TAG, close_dead_runs
from qatexp.tracking.registry import Registered, register, version_at
from qatexp.tracking.run import RunLog, Status
from qatexp.tracking.uri import is_server, resolve_uri, sqlite_path
from qatexp.tracking.view import KIND_TAG, SUPERSEDED_TAG, SWEEP_KIND, page_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NOTE_TAG = "mlflow.note.content"


def begin_store(config: TrackingConfig, *, home: Path) -> bool:
    """Begin to create the local database where it is missing, beside whatever comes next.

    Loading torch takes as long as that: on a machine with two cores, neither waits for the other.
    `open_store` waits for the database.

    Args:
        config: Where to log.
        home: The project's folder, which holds `multirun/`.

    Returns:
        Whether there was anything to begin.

    Raises:
        TrackingError: the path of the database has characters that a URI cannot carry.
    """
    database = sqlite_path(resolve_uri(config, home=home)) if config.enabled else None
    return database is not None and begin_database(database)


def open_store(config: TrackingConfig, *, home: Path) -> Store:
    """Open the store, creating the local database and the experiment where they are missing.

    Safe to call from several processes at once on a store that does not exist yet.

    Args:
        config: Where to log, and the experiment's name.
        home: The project's folder, which holds `multirun/`.

    Raises:
        TrackingError: the store or the experiment cannot be opened or created.
    """
    uri = resolve_uri(config, home=home)
    database = sqlite_path(uri)
    if database is not None:
        ensure_database(database)
    client = connect(uri)
    with translated(f"tracking.uri={uri} cannot be used"):
        experiment_id = ensure_experiment(client, name=config.experiment, uri=uri)
    return Store(client, uri=uri, experiment_id=experiment_id)


class Store:
    """One experiment of an MLflow store. Holds no state of its runs, so that none can leak."""

    def __init__(self, client: MlflowClient, *, uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self._client = client

    def start_run(
        self,
        *,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        parent_run_id: str | None = None,
        kind: str = "single",
    ) -> RunLog:
        """Start a run: a trial of the sweep `parent_run_id`, or a run of its own.

        Args:
            name: Shown in the table of runs.
            params: Flat configuration values, ``qconfig.weight.bits`` for instance.
            tags: Further facts, the git commit for instance.
            parent_run_id: What `start_sweep` returned, or None.
            kind: Of a run of its own: single, `ANALYSIS_KIND` or `RERUN_KIND`.

        Raises:
            TrackingError: the store does not take the run.
        """
        place = {KIND_TAG: kind}
        if parent_run_id is not None:
            place = {KIND_TAG: "trial", "mlflow.parentRunId": parent_run_id}
        log = self._create_run(name, {**tags, **place})
        try:
            log.log_params(params)
        except TrackingError:
            log.finish(status="FAILED", metrics={}, tags={})
            raise
        return log

    def supersede(self, run_id: str) -> None:
        """Mark what an earlier attempt at a trial left, however it ended: it counts as no result.

        A run that is not there any more needs no mark.

        Raises:
            TrackingError: the store cannot be used.
        """
        with translated(f"run {run_id} cannot be ended"):
            run = self._run(run_id)
            if run is None:
                return
            self._client.set_tag(run_id, SUPERSEDED_TAG, "true")
            if run.info.status in ("RUNNING", "FINISHED"):
                self._client.set_terminated(run_id, status="KILLED")

    def end_run(self, run_id: str) -> None:
        """End a run that is open, of a process that was killed on whichever machine.

        Raises:
            TrackingError: the store cannot be used.
        """
        with translated(f"run {run_id} cannot be ended"):
            run = self._run(run_id)
            if run is not None and run.info.status == "RUNNING":
                self._client.set_terminated(run_id, status="KILLED")

    def close_dead_runs(self) -> None:
        """End the runs that killed processes of this host left open.

        Raises:
            TrackingError: the store cannot be used.
        """
        with translated(f"the open runs of tracking.uri={self.uri} cannot be read"):
            close_dead_runs(self._client, self.experiment_id)

    def resume_sweep(self, run_id: str) -> bool:
        """Open the parent run of a sweep again; False where the store does not have it.

        Raises:
            TrackingError: the store cannot be used.
        """
        with translated(f"run {run_id} cannot be opened again"):
            if self._run(run_id) is None:
                return False
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, PROCESS_TAG, this_process().to_json())
        return True

    def start_sweep(self, *, name: str, tags: Mapping[str, Any], note: str) -> str:
        """Start the parent of a sweep's trials, before the first of them.

        Args:
            name: Shown in the table of runs.
            tags: Further facts about the sweep.
            note: Markdown, shown on the page of the parent run.

        Returns:
            The run id, which trials take as `parent_run_id`, in this process or another.

        Raises:
            TrackingError: the store does not take the run.
        """
        kind = {KIND_TAG: SWEEP_KIND, NOTE_TAG: note}
        return self._create_run(name, {**tags, **kind}).run_id

    def finish_sweep(
        self,
        run_id: str,
        *,
        status: Status,
        metrics: Mapping[str, float],
        note: str,
        artifacts: Sequence[Path],
    ) -> None:
        """End a sweep's parent run.

        Args:
            run_id: What `start_sweep` returned.
            status: FINISHED, FAILED or KILLED.
            metrics: Figures of the sweep as a whole; each is logged as ``sweep/<name>``.
            note: Markdown that replaces the first note, the comparison for instance.
            artifacts: Files and folders to keep with the sweep.

        Raises:
            TrackingError: the store does not take them.
        """
        log = RunLog(self._client, run_id=run_id, experiment_id=self.experiment_id)
        named = {f"sweep/{name}": value for name, value in metrics.items()}
        try:
            log.log_artifacts(artifacts)
        finally:
            log.finish(status=status, metrics=named, tags={NOTE_TAG: note})

    def register(
        self,
        run_id: str,
        variant: str,
        *,
        model: str,
        alias: str,
        tags: Mapping[str, Any],
        note: str,
    ) -> Registered:
        """Make a run's logged model the version of a registered model that an alias names.

        Args:
            run_id: a finished run.
            variant: name of its logged model, ``qat``.
            model: name of the registered model.
            alias: taken from the version that had it.
            tags: of the version.
            note: Markdown, shown on the version's page.

        Raises:
            TrackingError: the store does not take it, or the run has no such model.
        """
        with translated(f"run {run_id} cannot be registered as {model} in {self.uri}"):
            return register(
                self._client,
                is_remote=is_server(self.uri),
                run_id=run_id,
                variant=variant,
                model=model,
                alias=alias,
                tags=tags,
                note=note,
            )

    def version_at(self, *, model: str, alias: str) -> int | None:
        """The version of a registered model that an alias points at; None where there is none.

        Raises:
            TrackingError: the store cannot be used.
        """
        with translated(f"the alias {alias} of {model} cannot be read in {self.uri}"):
            return version_at(self._client, model=model, alias=alias)

    def set_note(self, run_id: str, note: str) -> None:
        """Replace the Markdown on a run's page.

        Raises:
            TrackingError: the store does not take it.
        """
        with translated(f"the note of run {run_id} cannot be changed"):
            self._client.set_tag(run_id, NOTE_TAG, tag_text(NOTE_TAG, note))

    def page_url(self) -> str | None:
        """Address of the saved view on an MLflow server; None for a store without a server."""
        if not is_server(self.uri):
            return None
        return self.uri.rstrip("/") + page_path(self.experiment_id, charts=True)

    def _run(self, run_id: str) -> Run | None:
        """A run; None where there is none, or where it was deleted: MLflow changes it no more."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return None if run.info.lifecycle_stage == "deleted" else run

    def _create_run(self, name: str, tags: Mapping[str, Any]) -> RunLog:
        texts = {key: tag_text(key, value) for key, value in {**_origin(), **tags}.items()}
        with translated(f"no run can be started in tracking.uri={self.uri}"):
            run = self._client.create_run(self.experiment_id, tags=texts, run_name=name)
        run_id = str(run.info.run_id)
        return RunLog(self._client, run_id=run_id, experiment_id=self.experiment_id)


def _origin() -> dict[str, str]:
    tags = {
        "mlflow.source.name": "qatexp",
        "mlflow.source.type": "LOCAL",
        PROCESS_TAG: this_process().to_json(),
    }
    try:
        return {**tags, "mlflow.user": getpass.getuser()}
    except (OSError, KeyError):  # a container's user often has no name
        return tags
