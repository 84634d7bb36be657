"""The best trial of a sweep, by a rule that is stated; see `sweep.select`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qatexp.compare.collect import Sweep, Trial
from qatexp.config.criteria import Criterion
from qatexp.errors import ConfigError
from qatexp.records import Record, Variant
from qatexp.results.comparable import by_data_set, latencies_compare
from qatexp.results.files import with_shared_figures
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE
from qatexp.results.trials import deployable, deployed_name, knobs, label
from qatexp.results.units import counted

_SPLITS = {"val_top1": "val", "top1": "test", "deployed_top1": "test"}
"""Images on which an accuracy was found."""
_SHARES = {
    "size_bytes": SIZE_TOLERANCE,
    "size_ideal_bytes": SIZE_TOLERANCE,
    "latency_ms_p50": LATENCY_TOLERANCE,
    "latency_ms_p95": LATENCY_TOLERANCE,
    "latency_speedup": LATENCY_TOLERANCE,
}
"""Differences that count as none, as on the Pareto front, by figure."""

Objection = Callable[[Record], str]
"""Why a trial may not be the best one, to follow its number: ``break the limit``; empty: it may."""


@dataclass(frozen=True, slots=True)
class Best:
    """The trial that a sweep's rule chooses."""

    trial: Trial
    record: Record
    name: str
    """Of its file: qat, or ptq where it has no qat."""
    settings: str
    """What sets it apart from other trials."""
    rule: tuple[str, ...]
    """How it was chosen, step by step, with what counted as equal."""
    among: str
    """How many of the finished trials were candidates, and why others were not; empty: all were."""

    @property
    def variant(self) -> Variant:
        """The figures of its file."""
        return self.record.variants[self.name]

    @property
    def text(self) -> str:
        """One sentence: which trial, and by what rule."""
        settings = f" ({self.settings})" if self.settings else ""
        among = f", among {self.among}" if self.among else ""
        rule = ", ".join(self.rule)
        return f"best: {self.name} of trial {self.trial.name}{settings}{among}, by {rule}"


def _no_objection(record: Record) -> str:  # noqa: ARG001  the signature of Objection
    return ""


def best_trial(
    sweep: Sweep, criteria: Sequence[Criterion], *, objection: Objection = _no_objection
) -> Best | None:
    """Choose the best of the finished trials by the file that each would deploy.

    The first figure leaves the trials that are as good as the best one, the next figure decides
    among these, and so on. As good as the best is whatever noise may have made: one standard error
    of the images for accuracies (the rule of Breiman et al., Classification and Regression Trees,
    1984), 1 % of a size, 5 % of a latency (relative to the trial's own fp32), nothing for other
    figures. Of trials that are equal by
    all figures, the one that is ahead in the first figure is taken, then that of the lowest number.
    Latencies decide nothing where those that are left were not taken alike. A trial that has missed
    its `target.max_drop` is no candidate.

    Args:
        sweep: with its trials.
        criteria: the rule; see `sweep.select`.
        objection: to further trials that are no candidates, whatever their figures.

    Returns:
        None where no trial has finished.

    Raises:
        ConfigError: the trials cannot be compared, none is a candidate, or none has one of the
            figures.
    """
    finished = [item for item in sweep.finished if deployable(item[1]) is not None]
    if not finished:
        return None
    trials, records = zip(*finished, strict=True)
    left = list(zip(trials, with_shared_figures(records), strict=True))
    _check_comparable([record for _, record in left])
    left, among = _candidates(left, objection)
    trial, rule = _chosen(left, criteria)
    record = records[trials.index(trial)]  # with what it has measured itself
    name = deployed_name(record)
    assert name is not None, "only trials with a file to deploy are left"
    settings = label(record, knobs(sweep.records)) if len(sweep.records) > 1 else ""
    return Best(trial, record, name, settings, rule, among)


def _chosen(
    left: Sequence[tuple[Trial, Record]], criteria: Sequence[Criterion]
) -> tuple[Trial, tuple[str, ...]]:
    """The trial that is left after all criteria, and how each of them counted."""
    rule, decisive = [], []
    for criterion in criteria:
        if criterion.figure.startswith("latency") and not latencies_compare(r for _, r in left):
            rule.append(f"not by {criterion} (not taken alike)")
            continue
        left, margin = _as_good_as_the_best(left, criterion)
        rule.append(f"{criterion}{margin}")
        decisive.append(criterion)
    if not decisive:
        asked = ", ".join(str(criterion).replace(" ", ":") for criterion in criteria)
        raise ConfigError(
            f"sweep.select=[{asked}]: the latencies of the trials were not taken alike (machine, "
            "threads, batch), so that none is the best; add a figure that compares, min:size_bytes"
        )
    trial, _ = max(left, key=lambda item: _value(item[1], decisive[0]))
    return trial, tuple(rule)


def _candidates(
    finished: Sequence[tuple[Trial, Record]], objection: Objection
) -> tuple[list[tuple[Trial, Record]], str]:
    """The trials to which there is no objection, and how a reader is told of the others."""
    found = [(item, objection(item[1]) or _missed_target(item[1])) for item in finished]
    left = [item for item, reason in found if not reason]
    reasons = Counter(reason for _, reason in found if reason)
    if not reasons:
        return left, ""
    others = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    if not left:
        trials = counted(len(finished), "finished trial")
        raise ConfigError(f"none of {trials} is the best, and none is registered: {others}")
    return left, f"{len(left)} of {counted(len(finished), 'finished trial')} ({others})"


def _missed_target(record: Record) -> str:
    """A file that loses more than was allowed is not what was asked for, however good it is."""
    has_missed = record.target is not None and not record.target.met
    return "missed target.max_drop" if has_missed else ""


def _check_comparable(records: Sequence[Record]) -> None:
    names = sorted(by_data_set(records))
    if len(names) > 1:
        raise ConfigError(
            f"a sweep over data sets ({', '.join(names)}) has no best trial: accuracies on other "
            "images do not compare"
        )


def _as_good_as_the_best(
    candidates: Sequence[tuple[Trial, Record]], criterion: Criterion
) -> tuple[list[tuple[Trial, Record]], str]:
    known = [item for item in candidates if _figure(item[1], criterion) is not None]
    if not known:
        raise ConfigError(
            f"sweep.select: no finished trial has {criterion.figure}, so that none is the best"
            + ("; without validation images max:deployed_top1 may take its place"
               if criterion.figure == "val_top1" else "")
        )  # fmt: skip
    best = max(known, key=lambda item: _value(item[1], criterion))
    margin, text = _margin(best[1], criterion)
    limit = _value(best[1], criterion) - margin
    return [item for item in known if _value(item[1], criterion) >= limit], text


def _margin(best: Record, criterion: Criterion) -> tuple[float, str]:
    """How far from the best value noise reaches, and how a reader is told."""
    figure, value = criterion.figure, abs(_value(best, criterion))
    if (split := _SPLITS.get(figure)) is not None:
        images = int(best.data.get(split) or 0)
        error = _standard_error(value, images)
        return error, f" (within {error:.2f} points, one standard error of {images:,} images)"
    if (share := _SHARES.get(figure)) is not None:
        # A share of the larger one, as on the Pareto front.
        reach = value * share if criterion.is_gain else value / (1.0 - share) - value
        relative = ", relative to fp32" if figure.startswith("latency_ms") else ""
        return reach, f" (within {share:.0%}{relative})"
    return 0.0, ""


def _standard_error(percent: float, images: int) -> float:
    """Of an accuracy, in points; not 0 where all of a few images are right.

    With two successes and two failures added: Agresti and Coull 1998, The American Statistician 52.
    """
    count = images + 4.0
    share = (percent / 100.0 * images + 2.0) / count
    return 100.0 * math.sqrt(share * (1.0 - share) / count) if images else 0.0


def _figure(record: Record, criterion: Criterion) -> float | None:
    variant = deployable(record)
    value: float | None = getattr(variant, criterion.figure)
    return value


def _value(record: Record, criterion: Criterion) -> float:
    """The figure, with the sign with which more is better."""
    value = _figure(record, criterion)
    assert value is not None, "only trials that have it are compared by it"
    return value if criterion.is_gain else -value
