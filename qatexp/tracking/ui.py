"""The MLflow pages on the project's store, opened where the runs are compared."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking.client import ENVIRONMENT
from qatexp.tracking.preflight import check_reachable
from qatexp.tracking.store import open_store
from qatexp.tracking.termination import sigterm_raises
from qatexp.tracking.uri import artifact_folder, is_server, resolve_uri, sqlite_path
from qatexp.tracking.view import page_path

HOST = "127.0.0.1"
LOG_FILE = Path("multirun") / "mlflow-ui.log"
HIGHEST_PORT = 65535
START_SECONDS = 60.0
STOP_SECONDS = 10.0


def serve(config: TrackingConfig, *, home: Path, port: int) -> int:
    """Serve the store's pages until interrupted, and print one line with the address to open.

    Where `tracking.uri` is a server, its pages are there already, and the address is all.

    Args:
        config: Whose store.
        home: The project's folder, which holds `multirun/`.
        port: 1..65535, on this machine only.

    Returns:
        The exit code 0, after an interrupt too.

    Raises:
        TrackingError: the port is impossible or taken, the store cannot be opened, or MLflow's
            server stopped.
    """
    uri = resolve_uri(config, home=home)
    check_reachable(uri)
    if not is_server(uri):
        _check_port(port)
    store = open_store(config, home=home)
    if is_server(uri):
        print(f"MLflow: {store.page_url()}")
        return 0
    log = home / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    with sigterm_raises(), _running(_command(uri, port=port), log=log) as server:
        _wait_until_ready(server, port=port, log=log)
        address = f"http://{HOST}:{port}{page_path(store.experiment_id, charts=True)}"
        print(f"MLflow: {address}  (Ctrl-C stops it)", flush=True)
        return _wait_until_interrupted(server, log=log)


def ui_hint() -> str:
    """The line that ends a run: how to open its pages with the program as it was called."""
    program = "qatexp" if shutil.which("qatexp") is not None else os.path.relpath(sys.argv[0])
    return f"MLflow pages: {program} ui"


def _check_port(port: int) -> None:
    if not 1 <= port <= HIGHEST_PORT:
        raise TrackingError(f"port {port} is not possible; allowed: 1 to {HIGHEST_PORT}.")
    with socket.socket() as probe:
        # A server that has just stopped must not count as one that runs.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as problem:
            taken = problem.errno == errno.EADDRINUSE
            reason = "is taken by another program" if taken else f"cannot be used: {problem}"
            other = port + 1 if port < HIGHEST_PORT else port - 1
            raise TrackingError(
                f"port {port} of {HOST} {reason}. Choose another one, for instance {other}."
            ) from problem


def _command(uri: str, *, port: int) -> list[str]:
    database = sqlite_path(uri)
    places = ["--backend-store-uri", uri]
    if database is not None:
        places += ["--artifacts-destination", artifact_folder(database).as_uri()]
    network = ["--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *places, *network]


@contextmanager
def _running(command: list[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Jobs serve language models; they are eight more processes, which outlive their server.
    settings = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 our own interpreter, and no shell
            command, stdout=output, stderr=output, env={**settings, **os.environ}
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        if server.poll() is not None:
            raise _stopped(server, log=log)
        try:
            with urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TrackingError(f"MLflow's server did not start in {START_SECONDS:.0f} s; its log: {log}")


def _wait_until_interrupted(server: subprocess.Popen[bytes], *, log: Path) -> int:
    try:
        server.wait()
    except KeyboardInterrupt:
        return 0
    raise _stopped(server, log=log)


def _stopped(server: subprocess.Popen[bytes], *, log: Path) -> TrackingError:
    return TrackingError(f"MLflow's server stopped with code {server.returncode}; its log: {log}")
