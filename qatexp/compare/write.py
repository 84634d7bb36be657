"""Comparisons as files: CSV for programs, Markdown for people, and a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qatexp.compare.collect import Sweep
from qatexp.compare.grid import escape_markdown, to_markdown
from qatexp.compare.pareto import pareto
from qatexp.compare.report import report
from qatexp.compare.variants import variants_in_order
from qatexp.errors import StoreError
from qatexp.figures import trade_off
from qatexp.figures.trials import deployable, varying_keys
from qatexp.records import Record, Variant
from qatexp.store.atomic import write_text

logger = logging.getLogger(__name__)

CSV_FILE, MARKDOWN_FILE, PICTURE_FILE = "compare.csv", "compare.md", "pareto.png"
Row = Mapping[str, Any]


def write_comparison(sweep: Sweep, folder: Path) -> list[Path]:
    """Write ``compare.csv``, ``compare.md`` and, if anything can be drawn, ``pareto.png``.

    An earlier picture that can no longer be drawn anew is removed: it would show other trials.

    Args:
        sweep: a sweep, or a single run.
        folder: where the files go; it exists.

    Returns:
        The files that were written.

    Raises:
        StoreError: a file cannot be written.
    """
    rows = _single_rows(sweep) if sweep.is_single else _sweep_rows(sweep)
    written = [folder / CSV_FILE, folder / MARKDOWN_FILE]
    write_text(written[0], csv_text(rows))
    records = [record for _, record in sweep.finished if deployable(record) is not None]
    write_text(written[1], markdown_text(sweep, has_picture=bool(records)))
    picture = folder / PICTURE_FILE
    if records:
        trade_off(records, picture)
        return [*written, picture]
    logger.warning("%s is not drawn: no run has finished with a quantized variant", picture)
    try:
        picture.unlink(missing_ok=True)
    except OSError as problem:
        raise StoreError(f"cannot remove {picture}: {problem.strerror or problem}") from problem
    return written


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV; a column for every key of any row, and an empty cell where a row lacks it."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown_text(sweep: Sweep, *, has_picture: bool) -> str:
    """The comparison as GitHub's Markdown: title, table, notes, and a link to the picture."""
    found = report(sweep)
    parts = [f"# {escape_markdown(found.title)}"]
    if found.grid is not None:
        parts.append(to_markdown(found.grid))
    lines = [*found.notes, *found.warnings]
    if lines:
        parts.append("\n".join(f"- {escape_markdown(line)}" for line in lines))
    if has_picture:
        parts.append(f"Accuracy against size and latency: [{PICTURE_FILE}]({PICTURE_FILE})")
    return "\n\n".join(parts) + "\n"


def _sweep_rows(sweep: Sweep) -> list[Row]:
    """One row per trial: settings that vary, then metrics; settings of failed trials count too."""
    keys = varying_keys(sweep.records)
    on_front = pareto(sweep.records)
    position = {id(record): index for index, record in enumerate(sweep.records)}
    rows: list[Row] = []
    for trial in sweep.trials:
        head = {"trial": trial.name, "status": trial.status, "pareto": 0}
        if trial.record is None:
            rows.append({**head, "problem": trial.problem})
            continue
        head["pareto"] = int(position[id(trial.record)] in on_front)
        settings = {key: _plain(trial.record, key) for key in keys}
        metrics = {name: _number(value) for name, value in trial.record.metrics().items()}
        rows.append({**head, "problem": trial.problem, **settings, **metrics})
    return rows


def _single_rows(sweep: Sweep) -> list[Row]:
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
