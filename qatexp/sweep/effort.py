"""Where the time of a sweep went: what was computed, how often, and what came from the cache."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from qatexp.compare import Sweep
from qatexp.records import Record

TRAININGS = ("fp32", "control", "ptq", "qat")
"""Stages that are counted by themselves; the others are summed up."""


def effort(sweep: Sweep, ran: Collection[str], seconds: float) -> str:
    """One line on the trials that ran in this command.

    Args:
        sweep: all trials.
        ran: names of those that ran now.
        seconds: from the first trial's start to the last one's end.
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
    total = sum(times.values())
    parts.append(f"other stages {times['other stages']:.0f} s")
    return (
        f"{len(records)} trials in {seconds:.0f} s: {', '.join(parts)}; "
        f"{seconds / max(total, 1e-9):.2f} times the sum of all that was computed"
    )


def _computed(record: Record) -> dict[str, float]:
    """Seconds of the stages that did not come from the cache."""
    return {k: spent for k, spent in record.seconds.items() if not record.cached.get(k, False)}
