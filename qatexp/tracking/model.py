"""An exported file as a logged model in MLflow's ONNX flavour."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatexp.tracking.client import quiet

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from mlflow import MlflowClient
    from mlflow.models import Model, ModelSignature

# Given to MLflow, which otherwise loads the model in a subprocess to find out what it imports.
REQUIREMENTS = ("mlflow", "onnx", "onnxruntime", "numpy")
MODEL_FILE = "model.onnx"
BATCH_OF_ANY_SIZE = -1


def log_onnx_model(
    client: MlflowClient,
    *,
    onnx_path: Path,
    name: str,
    input_example: np.ndarray[Any, Any],
    run_id: str,
    experiment_id: str,
) -> None:
    """Register a model of a run and upload it, with signature, requirements and example.

    `mlflow.onnx.log_model` would need an active run and the global tracking URI, which leak between
    the runs of one process. The uploaded file is a copy of `onnx_path`: MLflow writes models anew,
    and what was measured must be what is logged.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    description = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    status = LoggedModelStatus.FAILED
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            with quiet(), _versions_unchecked():
                _save(description, onnx_path, folder=folder, input_example=input_example)
            client.log_model_artifacts(logged.model_id, str(folder))
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)


def _save(
    description: Model, onnx_path: Path, *, folder: Path, input_example: np.ndarray[Any, Any]
) -> None:
    import mlflow.onnx
    import onnx

    proto = onnx.load(onnx_path)
    mlflow.onnx.save_model(
        proto,
        folder,
        mlflow_model=description,
        signature=_signature(proto),
        input_example=input_example,
        pip_requirements=_requirements(),
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    shutil.copyfile(onnx_path, folder / MODEL_FILE)


@contextmanager
def _versions_unchecked() -> Iterator[None]:
    """Spare MLflow a second in every process: it reads which files all installed packages have.

    It would only look up the modules of `REQUIREMENTS`, which are named as their packages, to
    compare versions that come from the installed packages anyway. A version of MLflow that does
    not keep this table does more work again, and nothing else.
    """
    from mlflow.utils import requirements_utils

    table = "_MODULES_TO_PACKAGES"
    before = getattr(requirements_utils, table, {})
    setattr(requirements_utils, table, before or {})
    try:
        yield
    finally:
        setattr(requirements_utils, table, before)


@cache
def _requirements() -> list[str]:
    return [f"{package}=={version(package)}" for package in REQUIREMENTS]


def _signature(proto: onnx.ModelProto) -> ModelSignature:
    """Leave inputs unnamed, so that callers pass a plain array; name outputs as the file does."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in initializers]
    return ModelSignature(
        inputs=Schema([TensorSpec(*_type_and_shape(value)) for value in inputs]),
        outputs=Schema(
            [TensorSpec(*_type_and_shape(value), name=value.name) for value in proto.graph.output]
        ),
    )


def _type_and_shape(value: onnx.ValueInfoProto) -> tuple[np.dtype[Any], tuple[int, ...]]:
    from onnx.helper import tensor_dtype_to_np_dtype

    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else BATCH_OF_ANY_SIZE
        for dim in tensor.shape.dim
    )
    return tensor_dtype_to_np_dtype(tensor.elem_type), shape
