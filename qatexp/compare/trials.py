"""A sweep: a row per trial, the best first, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence

from qatexp.compare.baseline import Delta, delta
from qatexp.compare.collect import Sweep
from qatexp.compare.grid import Column, Grid
from qatexp.compare.pareto import pareto
from qatexp.records import Record
from qatexp.results.comparable import (
    by_data_set,
)
from qatexp.results.trials import Knob, deployable, knobs
from qatexp.results.units import (
    MISSING,
    SizeUnit,
    factor,
    milliseconds,
    percent,
    points,
    share,
    size_unit,
)

MARK = "*"
"""Stands behind the number of a trial on the Pareto front."""
_DELTAS = ("diff\ntop-1", "diff\nsize %", "diff\ntime %")


def trials_grid(sweep: Sweep) -> Grid:
    """One row per finished trial, by data set and falling top-1 of what it would deploy."""
    finished = sweep.finished
    records = [record for _, record in finished]
    best = pareto(records)
    differing = knobs(sweep.records)
    deployed = [variant for record in records if (variant := deployable(record)) is not None]
    unit = size_unit(variant.size_bytes for variant in deployed)
    named = _accuracies(records)
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
            *_figures(records[index], named, unit),
            *_rest(records[index], sweep),
        )
        for index in order
    ]
    marked = frozenset(place for place, index in enumerate(order) if index in best)
    against = [] if sweep.baseline is None else list(_DELTAS)
    columns = _columns(
        records, differing, [*_headings(named, unit), *against], has_target=has_target
    )
    return Grid(columns, tuple(rows), marked)


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


def _accuracies(records: Sequence[Record]) -> tuple[str, ...]:
    """Variants whose accuracy is shown: the control where a trial has one."""
    has_control = any("control" in record.variants for record in records)
    return ("fp32", *(["control"] if has_control else []), "ptq", "qat")


def _headings(named: Sequence[str], unit: SizeUnit) -> tuple[str, ...]:
    accuracies = (f"top-1\n{name}" for name in named)
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


def _figures(record: Record, named: Sequence[str], unit: SizeUnit) -> tuple[str, ...]:
    variants = record.variants
    accuracies = [
        percent(variants[name].deployed_top1) if name in variants else MISSING for name in named
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
