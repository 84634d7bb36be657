"""Real sqlite stores: the database is created once per session and copied for every test."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qatexp.config.schema import TrackingConfig
from qatexp.tracking import open_store
from qatexp.tracking.database import ensure_database


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    ensure_database(path)
    return path


@pytest.fixture
def home(tmp_path, empty_database):
    """A project folder whose local store exists and is empty."""
    folder = tmp_path / "my project #1"
    (folder / "multirun").mkdir(parents=True)
    shutil.copyfile(empty_database, folder / "multirun" / "mlflow.db")
    return folder


@pytest.fixture
def store(home):
    return open_store(TrackingConfig(), home=home)


@pytest.fixture
def client(store):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.uri)


@pytest.fixture
def onnx_path(tmp_path):
    weight = numpy_helper.from_array(np.ones((2, 3, 4, 4), np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "weight"], ["map"]),
            helper.make_node("Flatten", ["map"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 21)]
    path = tmp_path / "qat.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
