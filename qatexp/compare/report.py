"""What a comparison says, before it is printed or written."""

from __future__ import annotations

from dataclasses import dataclass

from qatexp.compare.collect import FAILED, RUNNING, UNREADABLE, Sweep
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
    warnings = trials_warnings(sweep)
    if not sweep.finished:
        return Report(_title(sweep), None, [], warnings)
    return Report(_title(sweep), trials_grid(sweep), trials_notes(sweep), warnings)


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
    counts = [counted(len(sweep.trials), "trial")]
    for status in (FAILED, RUNNING, UNREADABLE):
        number = sum(trial.status == status for trial in sweep.trials)
        counts += [f"{number} {status}"] if number else []
    return f"{shown}: {', '.join(counts)}"
