"""Which process a run belongs to, and runs that a dead one has left open."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PROCESS_TAG = "qatexp.process"
_START_TICKS = 19
"""Index of a process's start among the fields behind its name, see proc_pid_stat(5)."""
MOST_RUNS = 1000
"""Open runs that are looked at; more of them would take long, and have another cause."""


def this_process() -> str:
    """Place, number and start of this process: numbers are used again, with another start."""
    own = psutil.Process()
    return json.dumps({"place": _place(), "pid": own.pid, "started": _started(own)})


def is_dead(process: str) -> bool:
    """Whether a process that `this_process` described ran here, and has ended."""
    try:
        found = json.loads(process)
        if found["place"] != _place():
            return False
        return bool(_started(psutil.Process(int(found["pid"]))) != found["started"])
    except psutil.NoSuchProcess:
        return True
    except (ValueError, KeyError, TypeError):
        return False


def _place() -> list[str]:
    """What processes have to share to know each other: host, and on Linux boot and namespace."""
    place = [socket.gethostname()]
    with suppress(OSError):
        place.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        place.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return place


def _started(process: psutil.Process) -> float:
    """Start of a process: on Linux in ticks since the boot, as clocks are set; else in seconds."""
    try:
        text = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return round(float(process.create_time()), 2)
    return float(text.rpartition(")")[2].split()[_START_TICKS])


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
