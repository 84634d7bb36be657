"""The real command line, on the embedded digits and a real MLflow store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qatexp.records import Record, load_record

ROOT = Path(__file__).parents[2]
SHORT = ("schedule.fp32.epochs=3", "schedule.qat.epochs=1", "measure.rounds=5")
"""Enough training for accuracies that mean something, in seconds."""


SMALL_SWEEP = (
    "-m",
    "trainer.threads=1",
    "schedule.fp32.epochs=1",
    "schedule.qat.epochs=1",
    "measure.rounds=3",
    "measure.certificate_images=16",
    "qconfig.bits=8,2",
)
"""Two trials that share a baseline."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed, how it ended, and where it ran."""

    code: int
    out: str
    err: str
    home: Path
    folder: Path | None = None
    """The newest single run when the command had ended: several tests share a home."""

    def runs(self, kind: str = "single") -> list[Path]:
        """Run folders (or sweep folders) in the order in which they were made."""
        return sorted((self.home / "multirun" / kind).glob("*"))

    def trial_records(self) -> list[Record]:
        """The records of the only sweep, in the order of its trials."""
        (folder,) = self.runs("sweep")
        numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        return [load_record(folder / str(number)) for number in numbers]

    def record(self) -> Record:
        """The record of the single run."""
        assert self.folder is not None
        return load_record(self.folder)


def _environment() -> dict[str, str]:
    """This process's own; where coverage is measured, its files stay together.

    The configuration that it hands on by itself leaves those of some processes in their folders.
    """
    found = dict(os.environ)
    if found.pop("COVERAGE_PROCESS_CONFIG", None) is not None:
        found["COVERAGE_PROCESS_START"] = str(ROOT / "pyproject.toml")
        found.setdefault("COVERAGE_FILE", str(ROOT / ".coverage"))
    return found


def qatexp(home: Path, *arguments: str, timeout: float = 300, **environment: str) -> Outcome:
    """Run the installed command in a folder, as a user would."""
    command = [str(Path(sys.executable).with_name("qatexp")), *arguments]
    result = subprocess.run(  # noqa: PLW1510 the code is what the tests look at
        command,
        cwd=home,
        env={**_environment(), **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    runs = sorted((home / "multirun" / "single").glob("*"))
    folder = runs[-1] if runs else None
    return Outcome(result.returncode, result.stdout, result.stderr, home, folder)


def killed(home: Path, when: str, *arguments: str) -> None:
    """Start a command, and kill its whole process group once `when` appears in its log."""
    command = [str(Path(sys.executable).with_name("qatexp")), *arguments]
    with subprocess.Popen(
        command, cwd=home, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                os.killpg(process.pid, signal.SIGKILL)
                return
    pytest.fail(f"the command ended without {when!r} in its log")


def comparable(record: Record) -> dict[str, Any]:
    """A record without what a clock, a cache or a checkpoint decides."""
    content = record.to_dict()
    for key in ("seconds", "cached", "mlflow_run_id", "resumed", "shared"):
        content.pop(key)
    for variant in content["variants"].values():
        for key in [key for key in variant if key.startswith("latenc")]:
            variant.pop(key)
    return content


def trials(outcome: Outcome) -> list[dict[str, Any]]:
    """The comparable content of the only sweep's records."""
    return [comparable(record) for record in outcome.trial_records()]
