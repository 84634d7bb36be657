"""Searches on made-up records: nothing is trained."""

from collections.abc import Callable

import pytest
from made_up_search import NODE, PLAIN, SPACE, Trials, compose

from qatexp.sweep import session as sessions
from qatexp.sweep.opening import open_sweep
from qatexp.sweep.search.planning import SearchTask, plan_search
from qatexp.sweep.search.run import run_search
from qatexp.sweep.search.study import open_study

MakeTask = Callable[..., SearchTask]


@pytest.fixture
def make_task() -> MakeTask:
    def make(*overrides, **settings):
        return plan_search(list(overrides) or SPACE, {**NODE, **settings}, compose)

    return make


@pytest.fixture
def search(make_task):
    """Run a search, or go on with it; returns the study and the session."""

    def run(launch, *overrides, **settings):
        task = make_task(*overrides, **settings)
        session = open_sweep(PLAIN, launch.folder, task.plan)
        try:
            run_search(task, launch.folder, launch)
        finally:
            sessions._open.remove(session)
        return open_study(task.settings, task.plan.search, launch.folder), session

    return run


@pytest.fixture
def trials(tmp_path) -> Trials:
    return Trials(tmp_path)
