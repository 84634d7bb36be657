"""Signs of life in a study: processes without a common folder see nothing else of one another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna import Study
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from qatexp.store.heartbeat import EXPIRY_SECONDS, RENEW_SECONDS

_SEEN = "qatexp.seen."
"""Attribute of a study: when a worker was last alive, by its own clock (Unix time)."""


@contextmanager
def pulse(study: Study, worker: str) -> Iterator[None]:
    """Show in a study, as long as the block takes, that a worker lives.

    Args:
        study: the study.
        worker: name of this process.
    """
    ended = threading.Event()
    _beat(study, worker, time.time())

    def renew() -> None:
        while not ended.wait(RENEW_SECONDS):
            _beat(study, worker, time.time())

    # A storage that does not answer must not keep a process alive that has ended.
    thread = threading.Thread(target=renew, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(RENEW_SECONDS)
        _beat(study, worker, 0.0)


def is_beating(study: Study, worker: str) -> bool:
    """Whether a worker has shown that it lives in the last `EXPIRY_SECONDS`."""
    seen = float(study.user_attrs.get(f"{_SEEN}{worker}", 0.0))
    return time.time() - seen <= EXPIRY_SECONDS


def _beat(study: Study, worker: str, now: float) -> None:
    # A storage that does not answer now may do so next time.
    with suppress(OSError, OptunaError, SQLAlchemyError):
        study.set_user_attr(f"{_SEEN}{worker}", now)
