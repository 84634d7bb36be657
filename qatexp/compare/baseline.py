"""One trial as the measure of all others: which one, and how far the others are from it."""

from __future__ import annotations

from dataclasses import dataclass

from qatexp.compare.collect import Sweep, Trial
from qatexp.config.suggestions import LOOSE, nearest
from qatexp.errors import ConfigError
from qatexp.records import Record
from qatexp.results.comparable import data_set, latencies_compare
from qatexp.results.files import with_shared_figures
from qatexp.results.trials import deployable, knobs, label


@dataclass(frozen=True, slots=True)
class Delta:
    """What a trial would deploy, against what the baseline would."""

    deployed_top1: float | None
    """In points; None on another data set."""
    size_share: float
    """Of the bytes: -0.5 is half the size."""
    latency_share: float | None
    """Of the median time, relative to each one's own fp32; None where both were not taken alike."""


def delta(record: Record, baseline: Trial | None) -> Delta | None:
    """Compare a trial with the baseline; None without one, or where a trial has no such file."""
    if baseline is None or baseline.record is None:
        return None
    ours, theirs = map(deployable, with_shared_figures([record, baseline.record]))
    if ours is None or theirs is None:
        return None
    is_same_data = data_set(record) == data_set(baseline.record)
    has_times = latencies_compare([record, baseline.record])
    return Delta(
        ours.deployed_top1 - theirs.deployed_top1 if is_same_data else None,
        ours.size_bytes / theirs.size_bytes - 1.0,
        ours.latency_ms_p50 / theirs.latency_ms_p50 - 1.0 if has_times else None,
    )


def find_baseline(sweep: Sweep, wanted: str) -> Trial:
    """Find the trial that `wanted` names: by number, by label, or by a name that only it has.

    Raises:
        ConfigError: no trial or several have this name, or the trial has no figures.
    """
    names = {id(trial): _names(trial, sweep) for trial in sweep.trials}
    found = [trial for trial in sweep.trials if wanted in names[id(trial)]]
    exact = [trial for trial in found if trial.name == wanted]
    if len(exact or found) > 1:
        several = ", ".join(trial.name for trial in found[:6]) + (", ..." if len(found) > 6 else "")
        raise ConfigError(
            f"--baseline={wanted} names {len(found)} trials ({several}); give one of these."
        )
    if not found:
        known = list(dict.fromkeys(name for own in names.values() for name in own))
        near = nearest(wanted, known, likeness=LOOSE)
        hint = f"did you mean {' or '.join(near)}?" if near else f"try {', '.join(known[:8])}"
        raise ConfigError(f"--baseline={wanted}: there is no such trial; {hint}")
    chosen = (exact or found)[0]
    if chosen.problem or chosen.record is None or deployable(chosen.record) is None:
        why = chosen.problem or "has no quantized variant"
        raise ConfigError(f"--baseline={wanted}: trial {chosen.name} {why}; choose a finished one.")
    return chosen


def _names(trial: Trial, sweep: Sweep) -> tuple[str, ...]:
    if trial.record is None:
        return (trial.name,)
    return (trial.name, label(trial.record, knobs(sweep.records)), trial.record.name)
