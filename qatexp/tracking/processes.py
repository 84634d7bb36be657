"""Runs that a process which has died has left open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qatexp.machine.processes import process_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PROCESS_TAG = "qatexp.process"
MOST_RUNS = 1000
"""Open runs that are looked at; more of them would take long, and have another cause."""


def close_dead_runs(client: MlflowClient, experiment_id: str) -> int:
    """End the runs that processes of this host left RUNNING when they, or it, were killed.

    Returns:
        How many there were.
    """
    running = client.search_runs(
        [experiment_id], filter_string="attributes.status = 'RUNNING'", max_results=MOST_RUNS
    )
    owners = ((run, process_of(run.data.tags.get(PROCESS_TAG, ""))) for run in running)
    dead = [
        run
        for run, owner in owners
        if owner is not None and (owner.is_dead or owner.is_of_earlier_boot)
    ]
    for run in dead:
        client.set_terminated(run.info.run_id, status="KILLED")
    if dead:
        logger.info("closed %d MLflow runs that killed processes had left open", len(dead))
    return len(dead)
