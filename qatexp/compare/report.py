"""What a comparison says, before it is printed or written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qatexp.compare.collect import FAILED, INTERRUPTED, OUTDATED, PRUNED, RUNNING, UNREADABLE, Sweep
from qatexp.compare.grid import Grid
from qatexp.compare.seeds import seed_groups
from qatexp.compare.seeds_table import reference_group, seeds_grid, seeds_notes
from qatexp.compare.trials import trials_grid
from qatexp.compare.trials_notes import omitted_notes, pruned_notes, trials_notes, trials_warnings
from qatexp.compare.variants import variants_grid, variants_notes
from qatexp.results.units import counted


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
    seeds: Grid | None = None
    """Mean and spread over seeds, where seeds were swept."""
    seeds_notes: tuple[str, ...] = ()


def report(sweep: Sweep) -> Report:
    """Compare the trials of a sweep, or the variants of a single run."""
    if sweep.is_single:
        return _run_report(sweep)
    warnings = [*trials_warnings(sweep), *_missing(sweep)]
    if not sweep.finished:
        notes = [*omitted_notes(sweep), *pruned_notes(sweep)]
        return Report(_title(sweep), None, notes, warnings)
    found = Report(_title(sweep), trials_grid(sweep), trials_notes(sweep), warnings)
    groups = seed_groups(sweep)
    if not groups:
        return found
    reference = reference_group(groups, sweep.baseline)
    grid = seeds_grid(groups, reference)
    return replace(found, seeds=grid, seeds_notes=tuple(seeds_notes(groups, reference)))


def _missing(sweep: Sweep) -> list[str]:
    started = len(sweep.trials) + sweep.left_out
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
    started, planned = len(sweep.trials) + sweep.left_out, sweep.planned
    is_partial = planned is not None and started < planned
    counts = [f"{started} of {planned} trials" if is_partial else counted(started, "trial")]
    if sweep.where:
        shared = f" ({', '.join(sweep.shared)})" if sweep.shared else ""
        counts = [f"{len(sweep.trials)} of {counted(started, 'trial')} where {sweep.where}{shared}"]
    for status in (PRUNED, FAILED, INTERRUPTED, RUNNING, OUTDATED, UNREADABLE):
        number = sum(trial.status == status for trial in sweep.trials)
        counts += [f"{number} {status}"] if number else []
    return f"{shown}: {', '.join(counts)}"
