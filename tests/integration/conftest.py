"""The real command line, on the embedded digits and a real MLflow store."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from qatexp.records import Record, load_record

SHORT = ("schedule.fp32.epochs=3", "schedule.qat.epochs=1", "measure.rounds=5")
"""Enough training for accuracies that mean something, in seconds."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed, how it ended, and where it ran."""

    code: int
    out: str
    err: str
    home: Path

    def runs(self, kind: str = "single") -> list[Path]:
        """Run folders (or sweep folders) in the order in which they were made."""
        return sorted((self.home / "multirun" / kind).glob("*"))

    def record(self) -> Record:
        """The record of the last single run."""
        return load_record(self.runs()[-1])


def qatexp(home: Path, *arguments: str, timeout: float = 300, **environment: str) -> Outcome:
    """Run the installed command in a folder, as a user would."""
    command = [str(Path(sys.executable).with_name("qatexp")), *arguments]
    result = subprocess.run(  # noqa: PLW1510 the code is what the tests look at
        command,
        cwd=home,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    return Outcome(result.returncode, result.stdout, result.stderr, home)


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
