import multiprocessing
import os
import signal
import socket
import sys
import time
from urllib.request import urlopen

import pytest

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking import check_reachable, open_store
from qatexp.tracking import ui as ui_module
from qatexp.tracking.ui import serve


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_taken_port_is_named_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError) as caught:
            serve(TrackingConfig(), home=tmp_path, port=port)
    assert str(caught.value) == (
        f"port {port} of 127.0.0.1 is taken by another program. "
        f"Choose another one, for instance {port + 1}."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", [0, 65536, 99999999])
def test_an_impossible_port_is_refused(tmp_path, port):
    with pytest.raises(
        TrackingError, match=rf"^port {port} is not possible; allowed: 1 to 65535\.$"
    ):
        serve(TrackingConfig(), home=tmp_path, port=port)


def test_a_server_that_stops_at_once_is_reported_with_its_log(home, monkeypatch):
    command = [sys.executable, "-c", "import sys; print('no such option'); sys.exit(3)"]
    monkeypatch.setattr(ui_module, "_command", lambda *_, **__: command)
    log = home / "multirun" / "mlflow-ui.log"
    with pytest.raises(TrackingError, match=f"server stopped with code 3; its log: {log}"):
        serve(TrackingConfig(), home=home, port=free_port())
    assert log.read_text() == "no such option\n"


def test_a_server_that_never_answers_is_given_up_and_ended(home, monkeypatch):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(ui_module, "_command", lambda *_, **__: command)
    monkeypatch.setattr(ui_module, "START_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(TrackingError, match="did not start in"):
        serve(TrackingConfig(), home=home, port=free_port())
    assert time.monotonic() - started < 10


def serve_into(file, home, port):
    with file.open("w") as sys.stdout:
        sys.exit(serve(TrackingConfig(), home=home, port=port))


@pytest.mark.slow
def test_the_pages_are_served_until_interrupted(home, tmp_path, capsys):
    """One real server: its one line of output, logging through it, its address, Ctrl-C."""
    port, printed = free_port(), tmp_path / "printed"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve_into, args=(printed, home, port))
    process.start()
    while process.is_alive() and not (printed.exists() and printed.read_text()):
        time.sleep(0.1)
    address = f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey=qatexp-tradeoff"
    assert printed.read_text().startswith(f"MLflow: {address}")
    assert printed.read_text().count("\n") == 1

    try:
        remote = TrackingConfig(uri=f"http://127.0.0.1:{port}", experiment="remote")
        check_reachable(remote.uri)
        store = open_store(remote, home=tmp_path)
        with store.start_run(name="x", params={"seed": 0}, tags={}) as log:
            log.log_artifacts([printed])
            log.finish(status="FINISHED", metrics={"qat/top1": 2.0}, tags={})
        assert list((home / "multirun" / "mlartifacts").rglob("printed")) != []
        assert serve(remote, home=tmp_path, port=1) == 0
        assert capsys.readouterr().out == f"MLflow: {store.page_url()}\n"
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.join(20)
    assert process.exitcode == 0
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://127.0.0.1:{port}/health")
