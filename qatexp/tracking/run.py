"""The log of one run: buffered metrics by epoch, artifacts, models, and how the run ended."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from qatexp.errors import TrackingError
from qatexp.tracking.client import translated
from qatexp.tracking.model import log_onnx_model
from qatexp.tracking.names import clean_name, param_text, split_finite, tag_text

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
FLUSH_SECONDS = 10.0
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
MAX_DIGEST = 36
NON_FINITE_TAG = "qatexp.non_finite"


class RunLog:
    """One run of a store, with one write buffer: a database write costs more than an epoch's log.

    As a context manager it ends a run that nobody finished: FAILED after an exception, KILLED
    after an interrupt or an exit, FINISHED otherwise.
    """

    def __init__(self, client: MlflowClient, *, run_id: str, experiment_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._experiment_id = experiment_id
        self._buffer: list[Metric] = []
        self._non_finite: list[str] = []
        self._flushed_at = time.monotonic()
        self._pause = FLUSH_SECONDS
        self._is_finished = False

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_finished:
            return
        if problem is None:
            self.finish(status="FINISHED", metrics={}, tags={})
            return
        try:
            status: Status = "FAILED" if isinstance(problem, Exception) else "KILLED"
            self.finish(status=status, metrics={}, tags={})
        except TrackingError as second:
            logger.warning("%s", second)  # must not hide what ended the run

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log configuration values under their flat names, ``qconfig.weight.bits`` for instance.

        Raises:
            TrackingError: the store does not take them.
        """
        from mlflow.entities import Param

        entities = [Param(clean_name(key), param_text(key, value)) for key, value in params.items()]
        with translated(f"the params of run {self.run_id} cannot be logged"):
            for start in range(0, len(entities), PARAMS_PER_BATCH):
                batch = entities[start : start + PARAMS_PER_BATCH]
                self._client.log_batch(self.run_id, params=batch)

    def log_epoch(self, stage: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log one epoch of a training as ``<stage>_epochs/<metric>``, its own section of charts.

        A store that does not answer for a while does not end a training: the metrics wait in the
        buffer, and `finish` raises if they still cannot be written.

        Args:
            stage: fp32, control or qat.
            epoch: From 1: MLflow draws a metric as a curve only if it has a step above 0.
            metrics: For instance `train_loss`, `val_top1`, `lr`.
        """
        self._add({f"{stage}_epochs/{name}": value for name, value in metrics.items()}, step=epoch)
        if time.monotonic() - self._flushed_at < self._pause:
            return
        try:
            self.flush()
            self._pause = FLUSH_SECONDS
        except TrackingError as problem:
            self._pause *= 2  # each attempt holds up the training
            logger.warning("%s; trying again in %.0f s", problem, self._pause)

    def log_by_bits(self, metrics: Mapping[int, Mapping[str, float]]) -> None:
        """Log figures as curves over bits: MLflow's step is the number of bits.

        Args:
            metrics: By bits and name; they reach the store with `finish`.
        """
        for bits, values in metrics.items():
            self._add(values, step=bits)

    def log_dataset(self, *, name: str, digest: str, profile: Mapping[str, Any]) -> None:
        """Log the data set as the input of the run, context "training".

        Args:
            name: Short name, `digits` for instance.
            digest: Our own content hash; MLflow keeps its first 36 characters.
            profile: Classes, split sizes and seed, shown beside the run.

        Raises:
            TrackingError: the store does not take it.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:MAX_DIGEST],
            source_type="code",
            source=json.dumps({"tags": {"mlflow.source.name": "qatexp"}}),
            profile=json.dumps(dict(profile), default=str),
        )
        tags = [InputTag(key="mlflow.data.context", value="training")]
        with translated(f"the data set of run {self.run_id} cannot be logged"):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_artifacts(self, paths: Sequence[Path], *, folder: str | None = None) -> None:
        """Copy files and whole folders into the run's artifacts.

        Args:
            paths: Files and folders that exist; a folder keeps its name.
            folder: Where in the artifacts; the top by default.

        Raises:
            TrackingError: the store does not take them.
        """
        with translated(f"the artifacts of run {self.run_id} cannot be logged"):
            for path in paths:
                self._client.log_artifact(self.run_id, str(path), artifact_path=folder)

    def log_model(self, onnx_path: Path, *, name: str, input_example: np.ndarray[Any, Any]) -> None:
        """Log an exported file as a model in MLflow's ONNX flavour, byte for byte.

        Args:
            onnx_path: The exported file.
            name: Name among the run's models, `qat` for instance.
            input_example: Images as the file takes them, shape (N, C, H, W); keep N small.

        Raises:
            TrackingError: the store does not take it.
        """
        with translated(f"the model {name} of run {self.run_id} cannot be logged"):
            log_onnx_model(
                self._client,
                onnx_path=onnx_path,
                name=name,
                input_example=input_example,
                run_id=self.run_id,
                experiment_id=self._experiment_id,
            )

    def flush(self) -> None:
        """Write what waits in the buffer; it stays there if that fails.

        Raises:
            TrackingError: the store does not take it.
        """
        self._flushed_at = time.monotonic()
        with translated(f"the metrics of run {self.run_id} cannot be logged"):
            while self._buffer:
                self._client.log_batch(self.run_id, metrics=self._buffer[:METRICS_PER_BATCH])
                del self._buffer[:METRICS_PER_BATCH]

    def finish(
        self, *, status: Status, metrics: Mapping[str, float], tags: Mapping[str, Any]
    ) -> None:
        """Write everything that waits, the final figures at step 0, the tags, and the status.

        Figures that are not finite are left out, with a warning and in the tag
        ``qatexp.non_finite``.

        Args:
            status: FINISHED, FAILED or KILLED; set even if the rest cannot be written.
            metrics: Final figures by their record names, ``qat/deployed_top1``.
            tags: Further facts about the run.

        Raises:
            TrackingError: the store does not take them.
        """
        with translated(f"the end of run {self.run_id} cannot be logged"):
            try:
                self._add(metrics, step=0)
                self.flush()
                self._log_tags(tags)
            finally:
                self._is_finished = True
                self._client.set_terminated(self.run_id, status=status)

    def _add(self, metrics: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        finite, others = split_finite(metrics)
        if others:
            logger.warning("not finite, and so left out of MLflow: %s", ", ".join(others))
            self._non_finite += others
        now = int(time.time() * 1000)
        self._buffer += [Metric(clean_name(key), value, now, step) for key, value in finite.items()]

    def _log_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        left_out = {NON_FINITE_TAG: ", ".join(self._non_finite)} if self._non_finite else {}
        texts = {key: tag_text(key, value) for key, value in {**tags, **left_out}.items()}
        self._client.log_batch(self.run_id, tags=[RunTag(*item) for item in texts.items()])
