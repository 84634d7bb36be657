"""Which MLflow store is meant, and where a local one keeps its files. Never imports mlflow."""

from __future__ import annotations

import os
from pathlib import Path

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError

DEFAULT_DATABASE = Path("multirun") / "mlflow.db"
ENVIRONMENT_VARIABLE = "MLFLOW_TRACKING_URI"
SQLITE_PREFIX = "sqlite:///"


def resolve_uri(config: TrackingConfig, *, home: Path) -> str:
    """Say where runs are logged: `tracking.uri`, else MLFLOW_TRACKING_URI, else the local store.

    A relative sqlite path is anchored at `home`, so that the store does not depend on the working
    folder of the process that opens it.

    Args:
        config: `uri: null` means the environment variable or the local store.
        home: The project's folder, which holds `multirun/`.

    Returns:
        An absolute URI; ``sqlite:///<home>/multirun/mlflow.db`` where nothing else is asked for.

    Raises:
        TrackingError: the path of a sqlite store has characters that its URI cannot carry.
    """
    uri = config.uri or os.environ.get(ENVIRONMENT_VARIABLE)
    if not uri:
        return sqlite_uri(home.resolve() / DEFAULT_DATABASE)
    path = sqlite_path(uri)
    if path is None:
        return uri
    _, mark, options = uri.partition("?")
    return f"{sqlite_uri(home.resolve() / path)}{mark}{options}"


def scheme_of(uri: str) -> str:
    """Part before ``:`` without a driver: `postgresql` of ``postgresql+psycopg2://…``."""
    scheme, colon, _ = uri.partition(":")
    return scheme.partition("+")[0].lower() if colon else ""


def is_server(uri: str) -> bool:
    """Whether `uri` is an MLflow server, which has a page of its own."""
    return scheme_of(uri) in ("http", "https")


def sqlite_path(uri: str) -> Path | None:
    """Path of the database file of a sqlite URI, None for every other URI."""
    if scheme_of(uri) != "sqlite":
        return None
    _, _, location = uri.partition(":///")
    return Path(location.partition("?")[0])


def sqlite_uri(path: Path) -> str:
    """URI of the sqlite database at an absolute path.

    Raises:
        TrackingError: the path has a ``%`` or ``?``, which versions of SQLAlchemy read differently.
    """
    if any(character in str(path) for character in "%?"):
        raise TrackingError(
            f"the MLflow database cannot be {path}: allowed are paths without % and ?. "
            "Set tracking.uri=sqlite:///<file> to another place, or to an MLflow server."
        )
    return f"{SQLITE_PREFIX}{path}"


def artifact_folder(database: Path) -> Path:
    """Folder of the artifacts of a local store: `mlartifacts` beside its database."""
    return database.parent / "mlartifacts"
