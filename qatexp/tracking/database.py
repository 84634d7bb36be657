"""Creation of the local sqlite store, once, however many processes ask for it at the same time."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Thread

from qatexp.store.lock import moment_lock
from qatexp.tracking.client import quiet, translated
from qatexp.tracking.uri import artifact_folder, sqlite_uri

logger = logging.getLogger(__name__)

_CREATE = """
import sys
from pathlib import Path
from qatexp.tracking.database import ensure_database
ensure_database(Path(sys.argv[1]))
"""


def begin_database(path: Path) -> bool:
    """Begin to create the database at `path` in a process of its own, if it is not there.

    `ensure_database` waits for that process; should it fail, it does the work itself, and says
    what is wrong.

    Returns:
        Whether there was anything to begin.
    """
    if _is_filled(path):
        return False
    command = [sys.executable, "-c", _CREATE, str(path)]
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    Thread(target=subprocess.run, args=(command,), kwargs=silent, daemon=True).start()
    return True


def ensure_database(path: Path) -> None:
    """Create the database at `path` unless it is there; an existing one is left as it is.

    MLflow's migrations fail, and leave a broken file, when two processes run them on one database.
    So they run under a file lock and on a file of their own, which then takes the name `path`: a
    process that is killed halfway leaves nothing behind that a later one would trust. The system
    frees the lock with its process; other hosts, which it may not stop, must not share a sqlite
    file anyway.

    Raises:
        TrackingError: the database cannot be created.
    """
    if _is_filled(path):
        return
    with translated(f"the MLflow database {path} cannot be created"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with moment_lock(path.with_name(f"{path.name}.lock")):
            if not _is_filled(path):
                _create(path)


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _create(path: Path) -> None:
    logger.info("creating the MLflow database %s", path)
    draft = path.with_name(f"{path.name}.new")
    for leftover in draft.parent.glob(f"{draft.name}*"):
        leftover.unlink()
    _migrate(draft)
    _enable_concurrent_writers(draft)
    draft.replace(path)


def _migrate(draft: Path) -> None:
    with quiet():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = SqlAlchemyStore(sqlite_uri(draft), artifact_folder(draft).as_uri())
    store.engine.dispose()


def _enable_concurrent_writers(path: Path) -> None:
    """Switch to a write-ahead log, for good: trials in parallel then log several times faster."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
