import base64
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qatexp.errors import TrackingError
from qatexp.tracking.preflight import check_reachable


class Answer:
    """What the fake server says, and what it was asked."""

    status = 200
    body = b"{}"
    authorization = None
    path = None


@pytest.fixture
def server():
    answer = Answer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer.path = self.path
            answer.authorization = self.headers.get("Authorization")
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        answer.uri = f"http://127.0.0.1:{listener.server_port}"
        yield answer
        listener.shutdown()
        thread.join()


def message_of(uri):
    with pytest.raises(TrackingError) as caught:
        check_reachable(uri)
    text = str(caught.value)
    assert text.startswith(f"tracking.uri={uri} cannot be used: ")
    return text


def test_a_server_that_answers_passes(server):
    check_reachable(server.uri + "/")
    assert server.path == "/api/2.0/mlflow/experiments/search?max_results=1"
    assert server.authorization is None


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, b"<html>", "not an MLflow server.", id="a page"),
        pytest.param(200, b"[1]", "not an MLflow server.", id="other json"),
        pytest.param(404, b"", "not an MLflow server (404).", id="not found"),
        pytest.param(401, b"", "MLFLOW_TRACKING_USERNAME", id="login"),
        pytest.param(403, b"no", "answers 403 Forbidden", id="forbidden"),
        pytest.param(500, b"", "answers 500", id="server error"),
        pytest.param(
            403,
            b"Invalid Host header - possible DNS rebinding attack detected",
            "MLFLOW_SERVER_ALLOWED_HOSTS",
            id="host header",
        ),
    ],
)
def test_a_server_that_refuses_is_named_with_the_fix(server, status, body, expected):
    server.status, server.body = status, body
    assert expected in message_of(server.uri)


def test_a_server_that_is_down_is_named_with_the_fix():
    text = message_of("http://127.0.0.1:9")
    assert "no answer from the server" in text
    assert "tracking.enabled=false" in text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(
            {"USERNAME": "ann", "PASSWORD": "b"},
            "Basic " + base64.b64encode(b"ann:b").decode(),
            id="password",
        ),
        pytest.param({"TOKEN": "t"}, "Bearer t", id="token"),
    ],
)
def test_the_login_of_mlflow_is_used(server, variables, expected, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    check_reachable(server.uri)
    assert server.authorization == expected


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\x00rest"], ids=str)
def test_a_usable_database_passes_and_nothing_is_written(tmp_path, content):
    path = tmp_path / "new" / "runs.db"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    check_reachable(f"sqlite:///{path}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "runs.db"
    path.write_text("these are not the runs that you are looking for")
    assert f"{path} is not an sqlite database. Set tracking.uri" in message_of(f"sqlite:///{path}")


def test_a_folder_is_no_database(tmp_path):
    assert f"{tmp_path} is not a file" in message_of(f"sqlite:///{tmp_path}")


def test_a_database_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path}/file/runs.db"
    assert str(tmp_path / "file") in message_of(uri)


@pytest.mark.parametrize("exists", [True, False], ids=["existing", "new"])
def test_a_read_only_place_is_refused(tmp_path, exists, monkeypatch):
    path = tmp_path / "runs.db"
    if exists:
        path.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root
    assert "read-only" in message_of(f"sqlite:///{path}")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(uri):
    assert "would be lost with the process" in message_of(uri)


def test_a_kind_of_store_that_mlflow_does_not_have_is_refused():
    text = message_of("foo://bar")
    assert text.startswith("tracking.uri=foo://bar cannot be used: no store is called foo://")
    assert "(allowed: databricks, " in text
    assert "postgresql" in text


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///x/mlruns"])
def test_a_plain_folder_is_refused_and_sqlite_recommended(uri):
    text = message_of(uri)
    assert "MLflow no longer logs to plain folders" in text
    assert "sqlite:///<file>" in text


@pytest.mark.parametrize("uri", ["postgresql://u@h/db", "databricks", "databricks://profile"])
def test_other_stores_are_left_to_mlflow(uri):
    check_reachable(uri)


def runs_as_another_process_sees_them(path):
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "print(connection.execute('SELECT count(*) FROM runs').fetchone()[0])\n"
        "connection.close()\n"
    )
    command = [sys.executable, "-c", code, path]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_checking_a_store_that_is_open_leaves_it_its_locks(home, store):
    """Without them another process takes the write-ahead log away, with all that follows."""
    database = home / "multirun" / "mlflow.db"
    store.start_run(name="first", params={"seed": 0}, tags={})
    check_reachable(store.uri)
    assert runs_as_another_process_sees_them(database) == 1
    store.start_run(name="second", params={"seed": 0}, tags={})
    assert runs_as_another_process_sees_them(database) == 2
