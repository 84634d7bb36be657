"""Comparisons as rows of flat figures, for CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from qatexp.compare.baseline import delta
from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.pareto import pareto
from qatexp.compare.reproduce import Command
from qatexp.compare.seeds import Group, seed_groups
from qatexp.compare.variants import variants_in_order
from qatexp.records import Record, Variant
from qatexp.results.trials import varying_keys

Row = Mapping[str, Any]


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV; a column for every key of any row, and an empty cell where a row lacks it."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sweep_rows(sweep: Sweep, commands: Mapping[str, Command | None]) -> list[Row]:
    """One row per trial: settings that vary, metrics, mean over seeds, differences, command.

    Settings of failed trials count too.

    Args:
        sweep: several trials.
        commands: by the trial's name; see `qatexp.compare.reproduce`.
    """
    keys = varying_keys(sweep.records)
    on_front = pareto(sweep.records)
    position = {id(record): index for index, record in enumerate(sweep.records)}
    groups = seed_groups(sweep)
    rows: list[Row] = []
    for trial in sweep.trials:
        head = {"trial": trial.name, "status": trial.status, "pareto": 0}
        tail = {"command": line.line} if (line := commands.get(trial.name)) is not None else {}
        head |= {"sweep": sweep.sources[trial.sweep]} if trial.sweep else {}
        if trial.record is None:
            rows.append({**head, "problem": trial.problem, **tail})
            continue
        head["pareto"] = int(position[id(trial.record)] in on_front)
        settings = {key: _plain(trial.record, key) for key in keys}
        metrics = {name: _number(value) for name, value in trial.record.metrics().items()}
        further = {**_over_seeds(trial, groups), **_against(trial.record, sweep)}
        rows.append({**head, "problem": trial.problem, **settings, **metrics, **further, **tail})
    return rows


def _over_seeds(trial: Trial, groups: Sequence[Group]) -> Row:
    """Mean and spread of the trials that differ from this one in the seed only."""
    for group in groups:
        if trial.name in group.trials:
            figures = {"n": group.n, "mean": group.mean, "std": group.std}
            return {f"seeds/deployed_top1_{key}": value for key, value in figures.items()}
    return {}


def _against(record: Record, sweep: Sweep) -> Row:
    """Points of top-1, and shares of size and latency, against the baseline."""
    found = delta(record, sweep.baseline)
    return {} if found is None else {f"diff/{k}": v for k, v in dataclasses.asdict(found).items()}


def single_rows(sweep: Sweep) -> list[Row]:
    """One row per variant, with its plain figures."""
    trial = sweep.trials[0]
    if trial.record is None or not sweep.finished:
        return [{"status": trial.status, "problem": trial.problem}]
    variants = variants_in_order(trial.record)
    return [{"variant": name, **_scalars(variant)} for name, variant in variants.items()]


def _scalars(variant: Variant) -> Row:
    fields = dataclasses.asdict(variant)
    return {key: value for key, value in fields.items() if not isinstance(value, dict | tuple)}


def _number(value: float) -> int | float:
    """Counts and bytes without a decimal point."""
    return int(value) if value.is_integer() else value


def _plain(record: Record, key: str) -> Any:
    """A setting as in ``record.json``: null and lists as JSON, an empty cell where it has none."""
    if key not in record.params:
        return ""
    value = record.params[key]
    return value if isinstance(value, str | float) else json.dumps(value)
