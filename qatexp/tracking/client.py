"""Connection to MLflow: quiet, without global state, and with errors that users can act on."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qatexp.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Defaults of MLflow that do not suit experiments; a user's own environment wins.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # never call home, nor wait for it where there is no way
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines at the end of every run
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 14 s; MLflow's 7 would hold up a training for 4 min
}

_opened: set[str] = set()


def connect(uri: str) -> MlflowClient:
    """Open a client of the store at `uri`; the process's active run and URI stay as they are.

    Raises:
        TrackingError: the store cannot be opened.
    """
    with quiet():
        from mlflow import MlflowClient

        with translated(f"tracking.uri={uri} cannot be opened"):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    _opened.add(uri)
    return client


def is_open(uri: str) -> bool:
    """Whether this process has opened the store.

    An sqlite file that is open must not be opened and closed beside the database: on POSIX systems
    that drops the locks of the whole process, and another process may then take away the
    write-ahead log ("disk I/O error").
    """
    return uri in _opened


@contextmanager
def quiet() -> Iterator[None]:
    """Import and use mlflow without its chatter, and without its Python warnings about itself."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401 its import configures the loggers that are set below

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        yield


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the failures of MLflow, its database and the disk into a `TrackingError`.

    Args:
        what: Start of the message: what could not be done.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as problem:
        raise TrackingError(f"{what}: {problem}") from problem
