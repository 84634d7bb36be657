"""The runs of an MLflow experiment as the trials of a comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qatexp.compare.collect import Sweep, Trial, read_trial
from qatexp.compare.gather import letters, new_folder
from qatexp.errors import StoreError
from qatexp.results.units import counted
from qatexp.tracking import LoggedRun, LoggedRuns

_ID_LENGTH = 8
"""Characters of a run's id that name its trial: enough to find it in MLflow's pages."""


def from_mlflow(found: LoggedRuns, *, experiment: str, home: Path) -> Sweep:
    """Make trials of logged runs, named by the start of their ids and labelled by their sweep.

    Args:
        found: runs with copies of their records, which are read now.
        experiment: its name, for messages.
        home: the folder that runs write to; see `qatexp.compare.gather`.

    Raises:
        StoreError: the experiment has no runs to compare.
    """
    runs, omitted = found.runs, _omitted(found)
    if not runs:
        beside = f" beside {', '.join(omitted)}" if omitted else ""
        raise StoreError(
            f"nothing to compare: the MLflow experiment {experiment} has no runs{beside}"
        )
    sweeps = list(dict.fromkeys(run.sweep for run in runs))
    labels = dict(zip(sweeps, letters(len(sweeps)), strict=True)) if len(sweeps) > 1 else {}
    return Sweep(
        folder=new_folder(home),
        trials=tuple(_trial(run, labels.get(run.sweep, "")) for run in runs),
        is_single=False,
        sources={label: name or "runs of their own" for name, label in labels.items()},
        omitted=tuple(omitted),
    )


def _omitted(found: LoggedRuns) -> list[str]:
    again = f"{counted(found.superseded, 'run')} whose trial was started again"
    counts = ((found.superseded, again), (found.reruns, counted(found.reruns, "rerun")))
    return [text for number, text in counts if number > 0]


def _trial(run: LoggedRun, label: str) -> Trial:
    found = read_trial(run.folder)
    return replace(found, name=run.run_id[:_ID_LENGTH], sweep=label, overrides=run.overrides)
