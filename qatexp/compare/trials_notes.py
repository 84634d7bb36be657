"""What is said below the table of a sweep's trials: rules, differences, and who is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.pareto import RULE, better_ptq
from qatexp.compare.trials import MARK
from qatexp.compare.variants import machine_note
from qatexp.results.comparable import (
    Difference,
    by_data_set,
    headline_conditions,
    latency_differences,
    version_differences,
)
from qatexp.results.trials import followers, knobs, label
from qatexp.results.units import counted

_MOST_NAMES = 6


def trials_notes(sweep: Sweep) -> list[str]:
    """Lines below the table: what the figures are."""
    records = [record for _, record in sweep.finished]
    return [
        f"top-1, size, latency{headline_conditions(records, is_brief=True)} and speedup are those "
        "of the deployed files",
        f"{MARK} on the Pareto front: {RULE}",
        *_follower_notes(sweep),
        *_data_notes(sweep),
        *_ptq_notes(sweep),
        *_baseline_notes(sweep),
        *(f"{name}: {folder}" for name, folder in sweep.sources.items()),
        *machine_note(records),
        *omitted_notes(sweep),
        *pruned_notes(sweep),
    ]


def _follower_notes(sweep: Sweep) -> list[str]:
    """What has no column, as the model or the data set tells it."""
    return [
        f"with {leader} goes {_listed_keys(keys)}"
        for leader, keys in followers(sweep.records).items()
    ]


def _listed_keys(keys: Sequence[str]) -> str:
    """Some of them by name; all are columns of the CSV."""
    more = f" and {counted(len(keys) - _MOST_NAMES, 'further setting')}"
    return ", ".join(keys[:_MOST_NAMES]) + (more if len(keys) > _MOST_NAMES else "")


def _data_notes(sweep: Sweep) -> list[str]:
    """Which trials compare in accuracy, where not all do."""
    finished = sweep.finished
    groups = by_data_set([record for _, record in finished])
    if len(groups) < 2:
        return []
    named = _by_value(groups, [trial.name for trial, _ in finished])
    return [f"accuracies compare on one data set only, each has a front of its own: {named}"]


def omitted_notes(sweep: Sweep) -> list[str]:
    """What was found beside the trials, and left out."""
    return [f"left out: {', '.join(sweep.omitted)}"] if sweep.omitted else []


def pruned_notes(sweep: Sweep) -> list[str]:
    """Which trials a search has ended, and on whose account."""
    return _without_figures(sweep.pruned, sweep)


def _ptq_notes(sweep: Sweep) -> list[str]:
    better = better_ptq([record for _, record in sweep.finished])
    names = [sweep.finished[index][0].name for index in sorted(better)]
    if not names:
        return []
    whose = _listed(names, of=len(sweep.finished))
    return [f"the ptq file is on the front, and beats the qat file, in {whose}"]


def _baseline_notes(sweep: Sweep) -> list[str]:
    baseline = sweep.baseline
    if baseline is None or baseline.record is None:
        return []
    text = label(baseline.record, knobs([*sweep.records, baseline.record]))
    return [
        f"differences are against trial {baseline.name} ({text}): points of top-1, and percent of "
        f"its size and latency (relative to fp32)"
    ]


def trials_warnings(sweep: Sweep) -> list[str]:
    """What was weakened, and in which trials; then what became of trials without figures."""
    finished = sweep.finished
    lines = []
    for warning in dict.fromkeys(text for _, record in finished for text in record.warnings):
        names = [trial.name for trial, record in finished if warning in record.warnings]
        lines.append(f"warning ({_listed(names, of=len(finished))}): {warning}")
    return [*lines, *_machine_warnings(sweep), *_without_figures(sweep.others, sweep)]


def _machine_warnings(sweep: Sweep) -> list[str]:
    """What the trials do not have in common, where it shows in their figures."""
    records = [record for _, record in sweep.finished]
    latencies, versions = latency_differences(records), version_differences(records)
    warnings = []
    if latencies:
        warnings.append(
            "warning: latencies compare, and count for fronts and differences, only where trials "
            f"agree in all of this: {_told(latencies, sweep)}"
        )
    if versions:
        warnings.append(f"warning: figures may differ as versions do: {_told(versions, sweep)}")
    return warnings


def _told(differences: Sequence[Difference], sweep: Sweep) -> str:
    names = [trial.name for trial, _ in sweep.finished]
    return "; ".join(f"{each.what} {_by_value(each.values, names)}" for each in differences)


def _by_value(groups: Mapping[str, Sequence[int]], names: Sequence[str]) -> str:
    """``1 (trials 0, 1), 2 (trial 2)``."""
    return ", ".join(
        f"{value} ({_listed([names[index] for index in indices], of=len(names))})"
        for value, indices in groups.items()
    )


def _without_figures(trials: Sequence[Trial], sweep: Sweep) -> list[str]:
    """One line on each, with its settings."""
    differing, lines = knobs(sweep.records), []
    for trial in trials:
        settings = ""
        if trial.record is not None and differing:
            settings = f" ({label(trial.record, differing)})"
        lines.append(f"trial {trial.name}{settings} {trial.problem}")
    return lines


def _listed(names: Sequence[str], *, of: int) -> str:
    if len(names) == of:
        return "all trials"
    listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f"{'trial' if len(names) == 1 else 'trials'} {listed}"
