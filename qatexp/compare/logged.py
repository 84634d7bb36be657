"""The runs of an MLflow experiment as the trials of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qatexp.compare.collect import Sweep, Trial, read_trial
from qatexp.compare.gather import letters, new_folder
from qatexp.errors import StoreError
from qatexp.tracking import LoggedRun

_ID_LENGTH = 8
"""Characters of a run's id that name its trial: enough to find it in MLflow's pages."""


def from_mlflow(runs: Sequence[LoggedRun], *, experiment: str, home: Path) -> Sweep:
    """Make trials of logged runs, named by the start of their ids and labelled by their sweep.

    Args:
        runs: with copies of their records, which are read now.
        experiment: its name, for messages.
        home: the folder that runs write to; see `qatexp.compare.gather`.

    Raises:
        StoreError: the experiment has no runs.
    """
    if not runs:
        raise StoreError(f"nothing to compare: the MLflow experiment {experiment} has no runs")
    sweeps = list(dict.fromkeys(run.sweep for run in runs))
    labels = dict(zip(sweeps, letters(len(sweeps)), strict=True)) if len(sweeps) > 1 else {}
    return Sweep(
        folder=new_folder(home),
        trials=tuple(_trial(run, labels.get(run.sweep, "")) for run in runs),
        is_single=False,
        sources={label: name or "runs of their own" for name, label in labels.items()},
    )


def _trial(run: LoggedRun, label: str) -> Trial:
    found = read_trial(run.folder)
    overrides = _split(run.overrides) if run.overrides else None
    return replace(found, name=run.run_id[:_ID_LENGTH], sweep=label, overrides=overrides)


def _split(overrides: str) -> tuple[str, ...]:
    """Part overrides that were logged with spaces between; a value may hold spaces itself."""
    return tuple(re.split(r" +(?=[~+]{0,2}[\w./@:]+=|~\w)", overrides))
