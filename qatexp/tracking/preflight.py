"""Check, before any work starts, that runs can be logged. Imports neither torch nor mlflow."""

from __future__ import annotations

import base64
import json
import os
from http.client import HTTPException
from importlib.metadata import entry_points
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from qatexp.errors import TrackingError
from qatexp.tracking.client import is_open
from qatexp.tracking.uri import is_server, scheme_of, sqlite_path

TIMEOUT_SECONDS = 5.0
SQLITE_MAGIC = b"SQLite format 3\x00"
DATABRICKS = ("databricks", "databricks-uc", "uc")
BUILT_IN = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
PROBE = "/api/2.0/mlflow/experiments/search?max_results=1"
FIX = (
    "Set tracking.uri (or MLFLOW_TRACKING_URI) to a running MLflow server or to "
    "sqlite:///<file>, or switch logging off with tracking.enabled=false."
)


def check_reachable(uri: str) -> None:
    """Check that the store at `uri` answers, or that its database can be written.

    Writes nothing. Databases other than sqlite are left to MLflow's own check.

    Raises:
        TrackingError: naming `tracking.uri`, its value, the reason and what to do.
    """
    if is_server(uri):
        _check_server(uri)
    elif (path := sqlite_path(uri)) is not None:
        _check_sqlite(uri, path)
    elif scheme_of(uri) in ("", "file") and uri not in DATABRICKS:
        raise _unusable(uri, "MLflow no longer logs to plain folders")
    elif (scheme := scheme_of(uri)) not in (known := _schemes()) and uri not in DATABRICKS:
        reason = f"no store is called {scheme}:// (allowed: {', '.join(sorted(known))})"
        raise _unusable(uri, reason)


def _schemes() -> set[str]:
    """Kinds of stores that MLflow has, with those that packages add to it."""
    plugins = entry_points(group="mlflow.tracking_store")
    return {*BUILT_IN, *(scheme_of(f"{plugin.name}:") for plugin in plugins)}


def _unusable(uri: str, reason: str, fix: str = FIX) -> TrackingError:
    return TrackingError(f"tracking.uri={uri} cannot be used: {reason}. {fix}")


def _check_server(uri: str) -> None:
    request = Request(uri.rstrip("/") + PROBE, headers=_authorization())  # noqa: S310 http(s) only
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 http(s) only
            content = json.load(answer)
    except HTTPError as problem:
        with problem:  # it is an open answer, too
            raise _refused(uri, problem) from problem
    except (OSError, HTTPException) as problem:
        reason = getattr(problem, "reason", problem)
        raise _unusable(uri, f"no answer from the server ({reason})") from problem
    except ValueError as problem:
        raise _unusable(uri, "what answers there is not an MLflow server") from problem
    if not isinstance(content, dict):
        raise _unusable(uri, "what answers there is not an MLflow server")


def _authorization() -> dict[str, str]:
    """Build the header from the variables that MLflow's own client reads."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refused(uri: str, problem: HTTPError) -> TrackingError:
    if problem.code == 401:
        return _unusable(
            uri,
            "the server wants a login (401)",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    if problem.code == 403 and b"Host header" in problem.read(1000):
        return _unusable(
            uri,
            "the server refuses to be called by this host name (403, Invalid Host header)",
            "Start the server with MLFLOW_SERVER_ALLOWED_HOSTS set to the host and port in "
            "tracking.uri, or call it by an address that it allows.",
        )
    if problem.code == 404:
        return _unusable(uri, "what answers there is not an MLflow server (404)")
    return _unusable(uri, f"the server answers {problem.code} {problem.reason}")


def _check_sqlite(uri: str, path: Path) -> None:
    if path.name in ("", ":memory:"):
        raise _unusable(uri, "a database in memory would be lost with the process")
    if is_open(uri):
        return
    try:
        reason = _unwritable(path) if path.exists() else _uncreatable(path.parent)
    except OSError as problem:
        reason = str(problem)
    if reason is not None:
        raise _unusable(uri, reason)


def _unwritable(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} is not a file"
    with path.open("rb") as file:
        head = file.read(len(SQLITE_MAGIC))
    if head not in (b"", SQLITE_MAGIC):
        return f"{path} is not an sqlite database"
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return f"{path} or its folder is read-only"
    return None


def _uncreatable(folder: Path) -> str | None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    return None if os.access(existing, os.W_OK | os.X_OK) else f"{existing} is read-only"
