"""What stands in the page as text and tables, so that it reads without scripts, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.page.tiles import tiles
from qatexp.compare.report import report
from qatexp.compare.reproduce import Command
from qatexp.compare.seeds import SEED, Difference, differences, seed_groups
from qatexp.compare.trials import MARK
from qatexp.results.trials import Knob, deployable, knobs, label
from qatexp.results.units import points

_KINDS = ("qat", "ptq", "fp32", "control")
"""Variants in the order of the legend."""
_FIRST_LINES = ("schedule.qat.lr_scale", "schedule.qat.epochs", "qconfig.bits")
"""Settings whose charts of lines come first; others that vary as numbers follow."""
_MOST_LINES = 6
_MOST_IN_MATRIX = 12
_EXAMPLE = "qat/deployed_top1 > 90"


def content(sweep: Sweep, commands: Mapping[str, Command | None]) -> dict[str, Any]:
    """Names for the template `page.html`."""
    found = report(sweep)
    differing = knobs(sweep.records)
    kinds = [set(record.variants) for _, record in sweep.finished]
    return {
        "report": found,
        "rows": _rows(sweep, found.grid.rows if found.grid is not None else ()),
        "is_single": sweep.is_single,
        "tiles": tiles(sweep),
        "knobs": differing,
        "lines": _lines(differing, sweep),
        "kinds": [name for name in _KINDS if any(name in own for own in kinds)],
        "has_files": any(deployable(record) is not None for _, record in sweep.finished),
        "has_gap": any({"ptq", "qat"} <= own for own in kinds),
        "matrix": _matrix(sweep),
        "failures": [
            _failure(place, trial, differing, commands)
            for place, trial in enumerate(sweep.trials)
            if trial in sweep.others
        ],
        "warnings": [
            text
            for text in found.warnings
            if not any(text.endswith(trial.problem) for trial in sweep.others)
        ],
        "hint": _hint(differing),
        "example": _EXAMPLE if sweep.is_single else _placeholder(differing, sweep),
    }


def _rows(sweep: Sweep, rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Cells, each row with the index of its trial, and its number without the mark."""
    index = {trial.name: place for place, trial in enumerate(sweep.trials)}
    found = []
    for first, *rest in rows:
        name = first.removesuffix(f" {MARK}")
        is_baseline = sweep.baseline is not None and sweep.baseline.name == name
        own = {"trial": index.get(name, 0), "name": name, "is_baseline": is_baseline}
        found.append({**own, "cells": rest})
    return found


def _lines(differing: Sequence[Knob], sweep: Sweep) -> list[tuple[int, Knob]]:
    """Settings with at least two numbers among the finished trials, each with its index."""
    found = [
        (index, knob)
        for index, knob in enumerate(differing)
        if knob.key != SEED and len(_numbers(knob, sweep)) > 1
    ]
    order = {key: place for place, key in enumerate(_FIRST_LINES)}
    return sorted(found, key=lambda item: order.get(item[1].key, len(order)))[:_MOST_LINES]


def _numbers(knob: Knob, sweep: Sweep) -> list[float]:
    """The different numbers that a setting has in the finished trials, in order."""
    values = (record.params.get(knob.key) for _, record in sweep.finished)
    return sorted({v for v in values if isinstance(v, int | float) and not isinstance(v, bool)})


def _matrix(sweep: Sweep) -> dict[str, Any] | None:
    """Differences of all pairs of settings over seeds; None where there are none, or too many."""
    groups = seed_groups(sweep)
    if not 2 <= len(groups) <= _MOST_IN_MATRIX:
        return None
    pairs = {(pair.one, pair.other): pair for pair in differences(groups)}
    places = range(len(groups))
    cells = [[_cell(pairs.get((row, column))) for column in places] for row in places]
    return {"labels": [group.label for group in groups], "cells": cells}


def _cell(pair: Difference | None) -> dict[str, Any]:
    if pair is None:
        return {"text": "", "larger": False, "title": ""}
    p = "one seed" if pair.p is None else f"p = {pair.p:.2g}"
    return {"text": points(pair.points), "larger": pair.is_larger_than_noise, "title": p}


def _failure(
    place: int, trial: Trial, differing: Sequence[Knob], commands: Mapping[str, Command | None]
) -> dict[str, Any]:
    line = commands.get(trial.name)
    error = trial.record.error if trial.record is not None else None
    return {
        "trial": place,
        "name": trial.name,
        "label": "" if trial.record is None else label(trial.record, differing),
        "status": trial.status,
        "stage": (error or {}).get("stage", ""),
        "kind": (error or {}).get("kind", ""),
        "message": (error or {}).get("message", trial.problem),
        "command": None if line is None else line.line,
    }


def _hint(differing: Sequence[Knob]) -> str:
    names = [*(knob.name for knob in differing[:6]), "qat/deployed_top1", "size_bytes", "pareto"]
    return (
        f"names: {', '.join(names)}, and all parameters and figures of record.json; text in quotes"
    )


def _placeholder(differing: Sequence[Knob], sweep: Sweep) -> str:
    for _, knob in _lines(differing, sweep):
        values = _numbers(knob, sweep)
        return f"{knob.name} <= {values[len(values) // 2]:g} and {_EXAMPLE}"
    return _EXAMPLE
