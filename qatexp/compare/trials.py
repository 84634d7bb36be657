"""A sweep: a row per trial, the best first, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence

from qatexp.compare.collect import Sweep
from qatexp.compare.grid import Column, Grid
from qatexp.compare.pareto import RULE, better_ptq, pareto
from qatexp.compare.variants import conditions, machine_note
from qatexp.figures.trials import Knob, deployable, knobs, label
from qatexp.figures.units import (
    MISSING,
    SizeUnit,
    factor,
    milliseconds,
    percent,
    points,
    share,
    size_unit,
)
from qatexp.records import Record

MARK = "*"
"""Stands behind the number of a trial on the Pareto front."""
_ACCURACIES = ("fp32", "ptq", "qat")
_MOST_NAMES = 6


def trials_grid(sweep: Sweep) -> Grid:
    """One row per finished trial, by falling top-1 of what it would deploy."""
    finished = sweep.finished
    records = [record for _, record in finished]
    best = pareto(records)
    differing = knobs(sweep.records)
    deployed = [variant for record in records if (variant := deployable(record)) is not None]
    unit = size_unit(variant.size_bytes for variant in deployed)
    order = sorted(range(len(finished)), key=lambda index: -_accuracy(records[index]))
    rows = [
        (
            f"{finished[index][0].name} {MARK}" if index in best else finished[index][0].name,
            *(knob.text(records[index]) for knob in differing),
            *_figures(records[index], unit),
        )
        for index in order
    ]
    marked = frozenset(place for place, index in enumerate(order) if index in best)
    return Grid(_columns(records, differing, unit), tuple(rows), marked)


def trials_notes(sweep: Sweep) -> list[str]:
    """Lines below the table: what the figures are."""
    records = [record for _, record in sweep.finished]
    return [
        f"top-1, size, latency{_settings(records)} and speedup are those of the deployed files",
        f"{MARK} on the Pareto front: {RULE}",
        *_ptq_notes(sweep),
        *machine_note(records),
    ]


def _ptq_notes(sweep: Sweep) -> list[str]:
    better = better_ptq([record for _, record in sweep.finished])
    names = [sweep.finished[index][0].name for index in sorted(better)]
    if not names:
        return []
    whose = _listed(names, of=len(sweep.finished))
    return [f"the ptq file is on the front, and beats the qat file, in {whose}"]


def trials_warnings(sweep: Sweep) -> list[str]:
    """What was weakened, and in which trials; then what became of trials without figures."""
    finished = sweep.finished
    lines = []
    for warning in dict.fromkeys(text for _, record in finished for text in record.warnings):
        names = [trial.name for trial, record in finished if warning in record.warnings]
        lines.append(f"warning ({_listed(names, of=len(finished))}): {warning}")
    differing = knobs(sweep.records)
    for trial in sweep.others:
        settings = ""
        if trial.record is not None and differing:
            settings = f" ({label(trial.record, differing)})"
        lines.append(f"trial {trial.name}{settings} {trial.problem}")
    return lines


def _columns(
    records: Sequence[Record], differing: Sequence[Knob], unit: SizeUnit
) -> tuple[Column, ...]:
    headings = (
        *(f"top-1\n{name}" for name in _ACCURACIES),
        "qat -\nptq",
        f"size\n{unit.name}",
        "latency\np50 ms",
    )
    settings = [
        Column(knob.name, is_number=all(knob.is_number(record) for record in records))
        for knob in differing
    ]
    spare = (Column("speedup", is_spare=True), Column("parity\n%", is_spare=True))
    return (Column("trial", is_number=False), *settings, *map(Column, headings), *spare)


def _figures(record: Record, unit: SizeUnit) -> tuple[str, ...]:
    variants = record.variants
    accuracies = [
        percent(variants[name].deployed_top1) if name in variants else MISSING
        for name in _ACCURACIES
    ]
    regained, parity = MISSING, record.parity
    if "qat" in variants and "ptq" in variants:
        regained = points(variants["qat"].deployed_top1 - variants["ptq"].deployed_top1)
    deployed = deployable(record)
    if deployed is None:
        return (*accuracies, regained, *[MISSING] * 4)
    return (
        *accuracies,
        regained,
        unit.number(deployed.size_bytes),
        milliseconds(deployed.latency_ms_p50),
        factor(deployed.latency_speedup),
        MISSING if parity is None else share(parity.top1_agreement),
    )


def _accuracy(record: Record) -> float:
    variant = deployable(record)
    return float("-inf") if variant is None else variant.deployed_top1


def _settings(records: Sequence[Record]) -> str:
    """What the latencies were measured with, where that is the same in all trials."""
    headlines = [v.latencies[0] for r in records if (v := deployable(r)) and v.latencies]
    found = {conditions(latency) for latency in headlines}
    return f" ({found.pop()})" if len(found) == 1 else ""


def _listed(names: Sequence[str], *, of: int) -> str:
    if len(names) == of:
        return "all trials"
    listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f"{'trial' if len(names) == 1 else 'trials'} {listed}"
