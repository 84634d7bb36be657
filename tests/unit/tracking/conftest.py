"""Real sqlite stores: the database is created once per session and copied for every test."""

import shutil

import pytest

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
