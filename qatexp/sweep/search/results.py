"""What became of a trial, from its record to the study; never from what a launcher returns."""

from __future__ import annotations

import logging
from pathlib import Path

from optuna import Study
from optuna.trial import Trial, TrialState

from qatexp.compare.collect import read_trial
from qatexp.records import Record
from qatexp.sweep.search.limits import Limits
from qatexp.sweep.search.objectives import Objective
from qatexp.sweep.search.study import REASON, trials_in

log = logging.getLogger(__name__)


def tell(
    study: Study,
    trial: Trial,
    folder: Path,
    *,
    objectives: tuple[Objective, ...],
    limits: Limits,
) -> None:
    """Tell a study of a trial: its figures, that it was pruned, or that it failed.

    Args:
        study: the study.
        trial: one of its trials that is running.
        folder: of the trial.
        objectives: of the study, in its order.
        limits: of the search.
    """
    state = trials_in(study)[trial.number].state
    if state.is_finished():
        text = "trial %d was taken by another process, as this one stood still, and is %s already"
        log.warning(text, trial.number, state.name.lower())
        return
    found = read_trial(folder)
    if found.record is not None and found.status == "finished":
        _tell_figures(study, trial, found.record, objectives, limits)
    elif found.status == "pruned":
        trial.set_user_attr(REASON, found.problem)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        _tell_failure(study, trial, found.problem)


def _tell_figures(
    study: Study,
    trial: Trial,
    record: Record,
    objectives: tuple[Objective, ...],
    limits: Limits,
) -> None:
    values = {objective.figure: objective.value(record) for objective in objectives}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        _tell_failure(study, trial, f"has no finite {' and no '.join(missing)}")
        return
    violations = limits.violations(record)
    for text, amount in violations.items():
        if text not in trial.constraints:  # told before the process was cut off
            trial.set_constraint(text, amount)
    study.tell(trial, [value for value in values.values() if value is not None])
    figures = ", ".join(f"{name} {value:g}" for name, value in values.items())
    off = limits.broken_by(record)
    log.info("trial %d: %s%s", trial.number, figures, f"; not {' and '.join(off)}" if off else "")


def _tell_failure(study: Study, trial: Trial, reason: str) -> None:
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL)
    log.warning("trial %d %s", trial.number, reason)
