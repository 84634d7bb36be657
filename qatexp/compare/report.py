"""What a comparison says, before it is printed or written."""

from __future__ import annotations

from dataclasses import dataclass

from qatexp.compare.collect import FAILED, INTERRUPTED, RUNNING, UNREADABLE, Sweep
from qatexp.compare.grid import Grid
from qatexp.compare.trials import trials_grid, trials_notes, trials_warnings
from qatexp.compare.variants import variants_grid, variants_notes
from qatexp.figures.units import counted


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison in words and figures."""

    title: str
    grid: Grid | None
    """None where nothing has finished."""
    notes: list[str]
    """What the figures are, and what else was found."""
    warnings: list[str]
    """What was weakened, and which trials have no figures."""


def report(sweep: Sweep) -> Report:
    """Compare the trials of a sweep, or the variants of a single run."""
    if sweep.is_single:
        return _run_report(sweep)
    warnings = [*trials_warnings(sweep), *_missing(sweep)]
    if not sweep.finished:
        return Report(_title(sweep), None, [], warnings)
    return Report(_title(sweep), trials_grid(sweep), trials_notes(sweep), warnings)


def _missing(sweep: Sweep) -> list[str]:
    started = len(sweep.trials)
    if sweep.planned is None or started >= sweep.planned:
        return []
    return [f"{started} of {sweep.planned} trials were started"]


def _run_report(sweep: Sweep) -> Report:
    trial = sweep.trials[0]
    if not sweep.finished:
        return Report(f"run {trial.name}", None, [], [f"run {trial.name} {trial.problem}"])
    _, record = sweep.finished[0]
    warnings = [f"warning: {text}" for text in record.warnings]
    return Report(record.name, variants_grid(record), variants_notes(record), warnings)


def _title(sweep: Sweep) -> str:
    """Experiments, number of trials, and how many of them have no figures."""
    names = list(dict.fromkeys(record.name for record in sweep.records)) or [sweep.folder.name]
    shown = ", ".join(names) if len(names) <= 3 else counted(len(names), "experiment")
    started, planned = len(sweep.trials), sweep.planned
    is_partial = planned is not None and started < planned
    counts = [f"{started} of {planned} trials" if is_partial else counted(started, "trial")]
    for status in (FAILED, INTERRUPTED, RUNNING, UNREADABLE):
        number = sum(trial.status == status for trial in sweep.trials)
        counts += [f"{number} {status}"] if number else []
    return f"{shown}: {', '.join(counts)}"
