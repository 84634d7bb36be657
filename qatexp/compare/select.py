"""Narrow a comparison down to some of its trials, and choose what they are compared with."""

from __future__ import annotations

import json
from dataclasses import replace

from qatexp.compare.baseline import find_baseline
from qatexp.compare.collect import Sweep
from qatexp.compare.where import WhereError, holds, parse, trial_values, vocabulary
from qatexp.compare.where.evaluate import Name, Value, names_in
from qatexp.errors import ConfigError
from qatexp.results.trials import knobs

ALLOWED = (
    "allowed are comparisons of settings and figures (bits <= 4, quantizer in ['lsq', 'pact'], "
    "qat/deployed_top1 > 90) joined by and, or, not and brackets"
)


def select(sweep: Sweep, *, where: str = "", baseline: str = "") -> Sweep:
    """Keep the trials for which an expression holds, and find the baseline among all of them.

    Args:
        sweep: everything that was collected.
        where: an expression, see `qatexp.compare.where`; empty for all trials.
        baseline: number or name of a trial; empty for none.

    Raises:
        ConfigError: the expression is wrong or holds for no trial, there is no such baseline, or
            the comparison is one of a single run.
    """
    for option, value in (("--where", where), ("--baseline", baseline)):
        if value and sweep.is_single:
            raise ConfigError(
                f"{option}={value}: {sweep.folder} is a single run; give the folder of a sweep, "
                f"or several folders."
            )
    chosen = find_baseline(sweep, baseline) if baseline else None
    sweep = replace(sweep, baseline=chosen)
    return _filtered(sweep, where) if where.strip() else sweep


def _filtered(sweep: Sweep, where: str) -> Sweep:
    rows = trial_values(sweep)
    try:
        node = parse(where, vocabulary(sweep).resolve)
        kept = [t for t, row in zip(sweep.trials, rows, strict=True) if holds(node, row)]
    except WhereError as problem:
        raise ConfigError(f"--where={where}: {problem}; {ALLOWED}.") from problem
    if not kept:
        seen = "; ".join(_seen(name, rows) for name in dict.fromkeys(names_in(node)))
        raise ConfigError(
            f"--where={where} holds for none of {len(rows)} trials{seen and f': {seen}'}."
        )
    narrowed = replace(sweep, trials=tuple(kept), where=where.strip())
    left_out = len(rows) - len(kept)
    return replace(narrowed, left_out=left_out, shared=_shared(sweep, narrowed))


def _shared(sweep: Sweep, narrowed: Sweep) -> tuple[str, ...]:
    """What no column of the narrowed table says any more, as the trials have it in common."""
    if not narrowed.records:
        return ()
    still = {knob.key for knob in knobs(narrowed.records)}
    settled = [knob for knob in knobs(sweep.records) if knob.key not in still]
    return tuple(knob.phrase(narrowed.records[0]) for knob in settled)


def _seen(name: Name, rows: list[dict[str, Value]]) -> str:
    """``bits is 2, 4, 8``: the values that there are, some of them where there are many."""
    values = list(dict.fromkeys(json.dumps(row.get(name.key)) for row in rows))
    return f"{name.written} is {', '.join(values[:6])}{', ...' if len(values) > 6 else ''}"
