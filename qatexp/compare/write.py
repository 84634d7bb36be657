"""Comparisons as files: CSV for programs, Markdown and a page for people, and a picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from qatexp.compare.collect import Sweep
from qatexp.compare.grid import escape_markdown, to_markdown
from qatexp.compare.page import page_text
from qatexp.compare.report import report
from qatexp.compare.reproduce import trial_command
from qatexp.compare.rows import csv_text, single_rows, sweep_rows
from qatexp.errors import StoreError
from qatexp.figures import trade_off
from qatexp.records import RECORD_FILE
from qatexp.results.trials import deployable
from qatexp.store.atomic import write_text

logger = logging.getLogger(__name__)

CSV_FILE, MARKDOWN_FILE, PAGE_FILE = "compare.csv", "compare.md", "compare.html"
PICTURE_FILE = "pareto.png"


def write_comparison(sweep: Sweep, folder: Path) -> list[Path]:
    """Write ``compare.csv``, ``.md``, ``.html`` and, if anything can be drawn, ``pareto.png``.

    An earlier picture that can no longer be drawn anew is removed: it would show other trials.

    Args:
        sweep: a sweep, or a single run.
        folder: where the files go; it exists.

    Returns:
        The files that were written.

    Raises:
        StoreError: a file cannot be written.
    """
    commands = {trial.name: trial_command(trial) for trial in sweep.trials}
    rows = single_rows(sweep) if sweep.is_single else sweep_rows(sweep, commands)
    records = [record for _, record in sweep.finished if deployable(record) is not None]
    texts = {
        CSV_FILE: csv_text(rows),
        MARKDOWN_FILE: markdown_text(sweep, has_picture=bool(records)),
        PAGE_FILE: page_text(sweep, commands),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    written = [folder / name for name in texts]
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


def is_written(sweep: Sweep, folder: Path) -> bool:
    """Whether `write_comparison` has been here since the last of these trials ended."""
    names = [CSV_FILE, MARKDOWN_FILE, PAGE_FILE]
    if any(deployable(record) is not None for _, record in sweep.finished):
        names.append(PICTURE_FILE)
    records = (trial.folder / RECORD_FILE for trial in sweep.trials)
    try:
        written = min((folder / name).stat().st_mtime_ns for name in names)
        return written >= max(record.stat().st_mtime_ns for record in records)
    except OSError:
        return False


def markdown_text(sweep: Sweep, *, has_picture: bool) -> str:
    """The comparison as GitHub's Markdown: title, table, notes, and a link to the picture."""
    found = report(sweep)
    parts = [f"# {escape_markdown(found.title)}"]
    if found.grid is not None:
        parts.append(to_markdown(found.grid))
    lines = [*found.notes, *found.warnings]
    if lines:
        parts.append(_listed(lines))
    if found.seeds is not None:
        parts += ["## Seeds", to_markdown(found.seeds), _listed(found.seeds_notes)]
    if has_picture:
        parts.append(f"Accuracy against size and latency: [{PICTURE_FILE}]({PICTURE_FILE})")
    return "\n\n".join(parts) + "\n"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)
