"""Where the time of a sweep went: what was computed, how often, and what came from the cache."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from qatexp.compare import Sweep
from qatexp.records import Record
from qatexp.results.units import counted

TRAININGS = ("fp32", "control", "ptq", "qat")
"""Stages that are counted by themselves; the others are summed up."""


def effort(sweep: Sweep, ran: Collection[str], *, seconds: float, before: float) -> str:
    """One line on the trials that ran in this command.

    Args:
        sweep: all trials.
        ran: names of those that ran now.
        seconds: from the sweep's opening to its end.
        before: that the command took until then: loading, checking, opening the store.
    """
    records = [record for trial, record in sweep.finished if trial.name in ran]
    if not records:
        return ""
    times: defaultdict[str, float] = defaultdict(float)
    counts = Counter[str]()
    for record in records:
        for stage, spent in _computed(record).items():
            kind = stage if stage in TRAININGS else "other stages"
            times[kind] += spent
            counts[kind] += 1
    parts = [f"{kind} {counts[kind]}x {times[kind]:.0f} s" for kind in TRAININGS if counts[kind]]
    if counts["other stages"]:
        parts.append(f"other stages {times['other stages']:.0f} s")
    computed = ", ".join(parts) or "all stages from the cache"
    rest = f"{_rest(seconds, sum(times.values()))}; {before:.0f} s before"
    return f"{counted(len(records), 'trial')} in {seconds:.0f} s: {computed}; {rest}"


def _rest(seconds: float, total: float) -> str:
    """What the stages leave of the time; where they overlap, how many ran at a time on average."""
    if total > seconds:
        return f"{total / seconds:.1f} stages at a time"
    return f"{seconds - total:.0f} s around them (starting, logging, waiting)"


def _computed(record: Record) -> dict[str, float]:
    """Seconds of the stages that did not come from the cache."""
    return {k: spent for k, spent in record.seconds.items() if not record.cached.get(k, False)}
