import subprocess
import sys
from pathlib import Path

import pytest

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking.uri import (
    artifact_folder,
    is_server,
    resolve_uri,
    scheme_of,
    sqlite_path,
    sqlite_uri,
)


@pytest.mark.parametrize(
    ("uri", "variable", "expected"),
    [
        pytest.param("http://a:1", "http://b:2", "http://a:1", id="configuration wins"),
        pytest.param(None, "http://b:2", "http://b:2", id="then the environment"),
        pytest.param(None, None, "sqlite:///{home}/multirun/mlflow.db", id="then the local store"),
        pytest.param(None, "", "sqlite:///{home}/multirun/mlflow.db", id="empty is not set"),
        pytest.param("sqlite:///x/a.db", None, "sqlite:///{home}/x/a.db", id="relative to home"),
        pytest.param("sqlite:////x/a.db", None, "sqlite:////x/a.db", id="absolute stays"),
        pytest.param(
            "sqlite:///a.db?timeout=9", None, "sqlite:///{home}/a.db?timeout=9", id="with options"
        ),
    ],
)
def test_order_of_precedence(uri, variable, expected, tmp_path, monkeypatch):
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    resolved = resolve_uri(TrackingConfig(uri=uri), home=tmp_path)
    assert resolved == expected.format(home=tmp_path.resolve())


def test_relative_home_gives_an_absolute_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = f"sqlite:///{tmp_path.resolve()}/multirun/mlflow.db"
    assert resolve_uri(TrackingConfig(), home=Path()) == expected


def test_sqlite_paths_survive_the_round_trip(tmp_path):
    path = tmp_path / "a folder" / "runs.db"
    assert sqlite_path(sqlite_uri(path)) == path
    assert sqlite_path(f"sqlite+pysqlite:///{path}?timeout=5") == path
    assert sqlite_path("postgresql://host/db") is None


@pytest.mark.parametrize("name", ["100%", "what?"])
def test_paths_that_a_uri_cannot_carry_are_refused(tmp_path, name):
    """SQLAlchemy would open another file, and MLflow would try again for 100 s."""
    with pytest.raises(TrackingError) as caught:
        resolve_uri(TrackingConfig(), home=tmp_path / name)
    assert str(caught.value).startswith(
        f"the MLflow database cannot be {tmp_path.resolve() / name}/multirun/mlflow.db: "
        "allowed are paths without % and ?. Set tracking.uri=sqlite:///<file>"
    )


@pytest.mark.parametrize(
    ("uri", "scheme", "server"),
    [
        ("https://host/x", "https", True),
        ("HTTP://host", "http", True),
        ("postgresql+psycopg2://u@h/db", "postgresql", False),
        ("./mlruns", "", False),
    ],
)
def test_scheme(uri, scheme, server):
    assert (scheme_of(uri), is_server(uri)) == (scheme, server)


def test_artifacts_lie_beside_the_database():
    assert artifact_folder(Path("/p/multirun/mlflow.db")) == Path("/p/multirun/mlartifacts")


def test_importing_the_package_imports_neither_mlflow_nor_torch():
    code = (
        "import sys, qatexp.tracking, qatexp.tracking.ui;"
        "print({'mlflow', 'torch', 'sqlalchemy', 'onnx'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
