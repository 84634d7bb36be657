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


def connect(uri: str) -> MlflowClient:
    """Open a client of the store at `uri`; the process's active run and URI stay as they are.

    Raises:
        TrackingError: the store cannot be opened.
    """
    with quiet():
        from mlflow import MlflowClient

        with translated(f"tracking.uri={uri} cannot be opened"):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def quiet() -> Iterator[None]:
    """Import and use mlflow without its chatter, and without its Python warnings about itself."""
    # Read when mlflow is imported: an experiment must not call home, nor wait for it offline.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
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
