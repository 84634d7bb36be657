"""A search from its first trial to its last: ask, launch, read the records, tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import TrialState

from qatexp.config.parse import flat_params
from qatexp.sweep.resume import ENDED, has_failed, is_finished
from qatexp.sweep.search.front import print_front
from qatexp.sweep.search.limits import Limits, read_limits
from qatexp.sweep.search.planning import SearchTask
from qatexp.sweep.search.proposals import Proposal, Proposer
from qatexp.sweep.search.pulse import pulse
from qatexp.sweep.search.results import tell
from qatexp.sweep.search.study import open_study, trials_in
from qatexp.sweep.search.workers import Worker
from qatexp.sweep.session import SearchSession, open_session

log = logging.getLogger(__name__)

Launch = Callable[..., Sequence[Any]]
"""A launcher's `launch`: overrides of each trial, and `initial_job_idx`."""


def run_search(task: SearchTask, folder: Path, launch: Launch) -> None:
    """Run trials until as many are finished as there are to be.

    Args:
        task: what to search.
        folder: of the sweep; it exists, and may hold trials already.
        launch: of the launcher.

    Raises:
        StoreError: the study cannot be used, or a file not be written.
    """
    assert task.plan.search is not None
    limits = read_limits(task.settings.constraints, list(flat_params(task.corners[0])))
    session = open_session()
    assert isinstance(session, SearchSession)
    session.limits = limits
    ran: set[str] = set()
    with ExitStack() as stack:
        worker = stack.enter_context(Worker(folder))
        study = open_study(task.settings, task.plan.search, folder)
        if task.settings.is_shared:
            stack.enter_context(pulse(study, worker.name))
        session.epilogue = partial(print_front, study, task.settings.objectives, folder)
        _tell_of_start(study, task)
        proposer = Proposer(study, task, folder=folder, worker=worker)
        while batch := proposer.take(task.settings.n_jobs):
            ran |= _run(batch, folder, launch)
            for proposal in batch:
                _tell(study, proposal, task, folder, limits)
        session.elsewhere = proposer.elsewhere()
    session.left = frozenset(ran)


def _tell_of_start(study: Study, task: SearchTask) -> None:
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    done, running = len(trials_in(study, *states)), len(trials_in(study, TrialState.RUNNING))
    if done or running:
        others = f"; {running} run elsewhere, or were cut off" if running else ""
        text = "%d of %d trials are finished already%s"
        log.info(text, done, task.settings.n_trials, others)


def _run(batch: Sequence[Proposal], folder: Path, launch: Launch) -> set[str]:
    """Launch what has not ended; a process may have done so between a record and the study."""
    left = [proposal for proposal in batch if not _has_ended(folder, proposal)]
    jobs = [[*p.point.overrides, f"hydra.sweep.subdir='{p.point.number}'"] for p in left]
    if not jobs:
        return set()
    try:
        launch(jobs, initial_job_idx=left[0].point.number)
    except Exception:
        # Some launchers raise when one job of a batch was killed; the records say which.
        if not any((folder / str(p.point.number)).is_dir() for p in left):
            raise
        log.exception("the launcher failed; the records of its trials say how far they came")
    return {str(p.point.number) for p in left}


def _has_ended(folder: Path, proposal: Proposal) -> bool:
    if is_finished(folder, proposal.point, statuses=ENDED):
        return True
    return not proposal.is_new and has_failed(folder, proposal.point)


def _tell(study: Study, proposal: Proposal, task: SearchTask, folder: Path, limits: Limits) -> None:
    trial = folder / str(proposal.point.number)
    tell(study, proposal.trial, trial, objectives=task.settings.objectives, limits=limits)
