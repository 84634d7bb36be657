"""Which points to run next: those that were cut off first, then new ones from the sampler."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, product
from pathlib import Path

from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from qatexp.errors import ConfigError, StoreError
from qatexp.records.plan import Point, load_plan
from qatexp.sweep.identity import trial_fingerprint
from qatexp.sweep.planning import plan_lock, write_plan
from qatexp.sweep.resume import united
from qatexp.sweep.search.planning import SearchTask
from qatexp.sweep.search.pulse import is_beating
from qatexp.sweep.search.space import Value, size
from qatexp.sweep.search.study import (
    FOLDER,
    REASON,
    REJECTED,
    WORKER,
    failed_trials,
    sampler_for,
    trials_in,
)
from qatexp.sweep.search.workers import Worker

log = logging.getLogger(__name__)

PATIENCE = 10
"""So often in a row a sampler may propose points that are there already, before one is drawn."""
MOST_REJECTED = 1000
"""In a row, after which a space has no further points in practice."""
_LISTABLE = 100_000
"""Points of a space up to which they are listed to find those that are left."""
_MOMENT = timedelta(minutes=1)
"""Longer than any process takes from asking for a trial to signing it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to run; its number in the study is that of its folder."""

    trial: Trial
    point: Point
    is_new: bool


class Proposer:
    """Asks a study for points that have not been tried.

    Args:
        study: the study, which other processes may use too.
        task: the search.
        folder: of the sweep.
        worker: this process.
    """

    def __init__(self, study: Study, task: SearchTask, *, folder: Path, worker: Worker) -> None:
        self._study, self._task, self._folder, self._worker = study, task, folder, worker
        self._taken: set[int] = set()
        self._failed_before = len(failed_trials(self._study))

    def take(self, count: int) -> list[Proposal]:
        """Propose up to `count` trials; none when the search is done, or has no points left.

        Raises:
            StoreError: the plan cannot be written.
        """
        found: list[Proposal] = []
        rejected = 0
        with plan_lock(self._folder):
            while len(found) < count and rejected < MOST_REJECTED:
                trial, is_new = self._next(is_stuck=rejected >= PATIENCE)
                if trial is None:
                    break
                proposal = self._proposal(trial, is_new=is_new)
                if proposal is None:
                    rejected += 1
                    continue
                rejected = 0
                found.append(proposal)
                self._taken.add(trial.number)
                self._add_to_plan(proposal.point)
        if rejected >= MOST_REJECTED:
            log.warning("the search ends: %d points in a row cannot be run, or were", rejected)
        return found

    def elsewhere(self) -> frozenset[str]:
        """Names of the trials in this folder that other processes run."""
        others = (
            trial
            for trial in trials_in(self._study, TrialState.RUNNING)
            if trial.number not in self._taken and self._is_here(trial) and self._is_alive(trial)
        )
        return frozenset(str(trial.number) for trial in others)

    def _next(self, *, is_stuck: bool) -> tuple[Trial | None, bool]:
        """A trial that was cut off, or a new one; None when there are enough."""
        for frozen in trials_in(self._study, TrialState.RUNNING):
            if frozen.number not in self._taken and not self._is_alive(frozen):
                self._study.sampler = sampler_for(self._task.settings, frozen.number)
                return Trial(self._study, frozen._trial_id), False
        if self._wanted() <= 0 or self._has_failed_too_often():
            return None, False
        left = self._untried()
        if left is not None and not left:
            log.info("the search ends: all %.0f points were tried", size(self._task.space))
            return None, False
        number = len(trials_in(self._study))
        self._study.sampler = sampler_for(self._task.settings, number)
        if left and not trials_in(self._study, TrialState.WAITING):
            self._enqueue(left, number, is_stuck=is_stuck)
        return self._study.ask(), True

    def _enqueue(self, left: list[dict[str, Value]], number: int, *, is_stuck: bool) -> None:
        """Have the study hand out a certain point next; a process may have ended just behind it."""
        if self._task.settings.sampler == "grid":
            self._study.enqueue_trial(left[0])
        elif is_stuck:
            self._study.enqueue_trial(random.Random(number).choice(left))  # noqa: S311  no secret

    def _proposal(self, trial: Trial, *, is_new: bool) -> Proposal | None:
        """Sign a trial and check its point; None for one that is not to be run."""
        trial.set_user_attr(FOLDER, str(self._folder.resolve()))
        trial.set_user_attr(WORKER, self._worker.name)
        values = {dimension.key: dimension.suggest(trial) for dimension in self._task.space}
        same = self._same_values(trial)
        if same is not None:
            self._reject(trial, f"the same as trial {same}")
            return None
        overrides = self._task.overrides(values)
        try:
            found = trial_fingerprint(self._task.compose(overrides))
        except ConfigError as problem:
            text = " ".join(self._task.overrides(values)[len(self._task.fixed) :])
            log.warning("the point %s is left out: %s", text, problem)
            self._reject(trial, str(problem))
            return None
        for point in self._points():
            if point.fingerprint == found and point.number != trial.number:
                self._reject(trial, f"the same as trial {point.number}")
                return None
        return Proposal(trial, Point(trial.number, tuple(overrides), found), is_new)

    def _reject(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        trial.set_user_attr(REJECTED, True)
        self._study.tell(trial, state=TrialState.FAIL)

    def _wanted(self) -> int:
        """How many trials more there are to be, beside those that run."""
        settled = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        started = len(trials_in(self._study, *settled)) + self._failed_now()
        return self._task.settings.n_trials - started

    def _failed_now(self) -> int:
        """Trials that have failed since this command was started; earlier ones are made up for."""
        return len(failed_trials(self._study)) - self._failed_before

    def _has_failed_too_often(self) -> bool:
        most = self._task.corners[0].sweep.max_failures
        return most is not None and self._failed_now() >= most

    def _is_alive(self, trial: FrozenTrial) -> bool:
        """Whether a process runs a trial, as far as this folder and the study tell."""
        name = trial.user_attrs.get(WORKER)
        if name is None:
            # In this folder asking and signing are one; in another one somebody may be between.
            started = trial.datetime_start or datetime.now()
            return self._task.settings.is_shared and datetime.now() - started < _MOMENT
        return (
            self._worker.is_alive(name) if self._is_here(trial) else is_beating(self._study, name)
        )

    def _is_here(self, trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get(FOLDER) == str(self._folder.resolve()))

    def _same_values(self, trial: Trial) -> int | None:
        """Number of an earlier trial with the values of this one."""
        key = _key(trial.params)
        for other in trials_in(self._study):
            if other.number < trial.number and _key(other.params) == key:
                return other.number
        return None

    def _untried(self) -> list[dict[str, Value]] | None:
        """Points that no trial has had, in order; None where they are too many to be listed."""
        space = self._task.space
        if size(space) > _LISTABLE:
            return None
        tried = {_key(trial.params) for trial in trials_in(self._study)}
        combinations = product(*(dimension.values or () for dimension in space))
        points = (dict(zip((d.key for d in space), each, strict=True)) for each in combinations)
        return list(islice((point for point in points if _key(point) not in tried), _LISTABLE))

    def _points(self) -> tuple[Point, ...]:
        try:
            return load_plan(self._folder).points
        except StoreError:
            return ()

    def _add_to_plan(self, point: Point) -> None:
        try:
            plan = load_plan(self._folder)
        except StoreError:
            plan = self._task.plan
        write_plan(united(replace(plan, points=(point,)), plan.points), self._folder)


def _key(values: Mapping[str, Value]) -> str:
    return json.dumps(dict(values), sort_keys=True)
