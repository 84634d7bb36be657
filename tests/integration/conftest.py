"""Runs of the real command that several tests look at, on the embedded digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import SHORT, SMALL_SWEEP, Outcome, qatexp


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, however pytest was called
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a project folder in one worker, where its runs are made once."""
    for item in items:
        if "home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("home"))


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A project folder that the tests of a session share, with its store and stage cache."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="session")
def first_run(home) -> Outcome:
    """One W8A8 experiment with its control, everything computed."""
    return qatexp(home, *SHORT, "schedule.control=true", "name=first")


@pytest.fixture(scope="session")
def sweep(home, first_run) -> Outcome:
    """Three trials over bits, one of which cannot train."""
    return qatexp(home, "-m", *SHORT, "qconfig.bits=8,2", "schedule.qat.lr_scale=0.1,1e30")


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory) -> Outcome:
    """Two trials, one after another, undisturbed."""
    return qatexp(tmp_path_factory.mktemp("small"), *SMALL_SWEEP)
