"""Which process a run belongs to, and runs that a dead one has left open."""

from __future__ import annotations

import json
import logging
import socket
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PROCESS_TAG = "qatexp.process"
MOST_RUNS = 1000
"""Open runs that are looked at; more of them would take long, and have another cause."""


def this_process() -> str:
    """Host, number and start of this process: numbers are used again, with another start."""
    own = psutil.Process()
    return _text(socket.gethostname(), own.pid, own.create_time())


def is_dead(process: str) -> bool:
    """Whether a process that `this_process` described ran on this host, and has ended."""
    try:
        found = json.loads(process)
        if found["host"] != socket.gethostname():
            return False
        present = psutil.Process(int(found["pid"]))
        return _text(found["host"], present.pid, present.create_time()) != process
    except psutil.NoSuchProcess:
        return True
    except (ValueError, KeyError, TypeError):
        return False


def close_dead_runs(client: MlflowClient, experiment_id: str) -> int:
    """End the runs that processes of this host left RUNNING when they were killed.

    Returns:
        How many there were.
    """
    running = client.search_runs(
        [experiment_id], filter_string="attributes.status = 'RUNNING'", max_results=MOST_RUNS
    )
    dead = [run for run in running if is_dead(run.data.tags.get(PROCESS_TAG, ""))]
    for run in dead:
        client.set_terminated(run.info.run_id, status="KILLED")
    if dead:
        logger.info("closed %d MLflow runs that killed processes had left open", len(dead))
    return len(dead)


def _text(host: str, pid: int, started: float) -> str:
    return json.dumps({"host": host, "pid": pid, "started": round(started, 2)})
