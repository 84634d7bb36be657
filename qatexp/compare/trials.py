"""A sweep: a row per trial, the best first, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qatexp.compare.baseline import Delta, delta
from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.grid import Column, Grid
from qatexp.compare.pareto import RULE, better_ptq, pareto
from qatexp.compare.variants import machine_note
from qatexp.records import Record
from qatexp.results.comparable import (
    Difference,
    by_data_set,
    headline_conditions,
    latency_differences,
    version_differences,
)
from qatexp.results.trials import Knob, deployable, followers, knobs, label
from qatexp.results.units import (
    MISSING,
    SizeUnit,
    counted,
    factor,
    milliseconds,
    percent,
    points,
    share,
    size_unit,
)

MARK = "*"
"""Stands behind the number of a trial on the Pareto front."""
_ACCURACIES = ("fp32", "ptq", "qat")
_DELTAS = ("diff\ntop-1", "diff\nsize %", "diff\ntime %")
_MOST_NAMES = 6


def trials_grid(sweep: Sweep) -> Grid:
    """One row per finished trial, by data set and falling top-1 of what it would deploy."""
    finished = sweep.finished
    records = [record for _, record in finished]
    best = pareto(records)
    differing = knobs(sweep.records)
    deployed = [variant for record in records if (variant := deployable(record)) is not None]
    unit = size_unit(variant.size_bytes for variant in deployed)
    order = [
        index
        for group in by_data_set(records).values()
        for index in sorted(group, key=lambda index: -_accuracy(records[index]))
    ]
    has_target = any(record.target is not None for record in records)
    rows = [
        (
            f"{finished[index][0].name} {MARK}" if index in best else finished[index][0].name,
            *(knob.text(records[index]) for knob in differing),
            *([_target(records[index])] if has_target else []),
            *_figures(records[index], unit),
            *_rest(records[index], sweep),
        )
        for index in order
    ]
    marked = frozenset(place for place, index in enumerate(order) if index in best)
    against = [] if sweep.baseline is None else list(_DELTAS)
    columns = _columns(records, differing, [*_headings(unit), *against], has_target=has_target)
    return Grid(columns, tuple(rows), marked)


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


def _columns(
    records: Sequence[Record],
    differing: Sequence[Knob],
    headings: Sequence[str],
    *,
    has_target: bool,
) -> tuple[Column, ...]:
    settings = [
        Column(
            knob.name,
            is_number=all(knob.is_number(record) for record in records),
            is_setting=True,
        )
        for knob in differing
    ]
    settings += [Column("target\nmet", is_number=False)] if has_target else []
    spare = (Column("speedup", is_spare=True), Column("parity\n%", is_spare=True))
    return (Column("trial", is_number=False), *settings, *map(Column, headings), *spare)


def _target(record: Record) -> str:
    """Whether the file that a trial would deploy loses as little as was asked for."""
    if record.target is None:
        return MISSING
    return "yes" if record.target.met else "no"


def _headings(unit: SizeUnit) -> tuple[str, ...]:
    accuracies = (f"top-1\n{name}" for name in _ACCURACIES)
    return (*accuracies, "qat -\nptq", f"size\n{unit.name}", "latency\np50 ms")


def _rest(record: Record, sweep: Sweep) -> tuple[str, ...]:
    """What stands behind the main figures: against the baseline, if any, and spare columns."""
    against: tuple[str, ...] = ()
    if sweep.baseline is not None:
        against = delta_texts(delta(record, sweep.baseline))
    deployed, parity = deployable(record), record.parity
    if deployed is None:
        return (*against, MISSING, MISSING)
    agreement = MISSING if parity is None else share(parity.top1_agreement)
    return (*against, factor(deployed.latency_speedup), agreement)


def delta_texts(against: Delta | None) -> tuple[str, str, str]:
    """Points of top-1, and percent of size and of latency, always with a sign."""
    if against is None:
        return MISSING, MISSING, MISSING
    top1, latency = against.deployed_top1, against.latency_share
    return (
        MISSING if top1 is None else points(top1),
        f"{100.0 * against.size_share:+.1f}",
        MISSING if latency is None else f"{100.0 * latency:+.1f}",
    )


def _figures(record: Record, unit: SizeUnit) -> tuple[str, ...]:
    variants = record.variants
    accuracies = [
        percent(variants[name].deployed_top1) if name in variants else MISSING
        for name in _ACCURACIES
    ]
    regained = MISSING
    if "qat" in variants and "ptq" in variants:
        regained = points(variants["qat"].deployed_top1 - variants["ptq"].deployed_top1)
    deployed = deployable(record)
    if deployed is None:
        return (*accuracies, regained, MISSING, MISSING)
    return (
        *accuracies,
        regained,
        unit.number(deployed.size_bytes),
        milliseconds(deployed.latency_ms_p50),
    )


def _accuracy(record: Record) -> float:
    variant = deployable(record)
    return float("-inf") if variant is None else variant.deployed_top1


def _listed(names: Sequence[str], *, of: int) -> str:
    if len(names) == of:
        return "all trials"
    listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f"{'trial' if len(names) == 1 else 'trials'} {listed}"
