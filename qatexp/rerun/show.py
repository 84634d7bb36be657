"""The verdict of a rerun on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qatexp.compare.grid import Column, Grid, to_rich
from qatexp.rerun.reasons import shown
from qatexp.rerun.verdict import Figure, Verdict

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = (
    Column("figure", is_number=False),
    Column("original"),
    Column("rerun"),
    Column("verdict", is_number=False),
)
NOTE = "latency: rerun over original, not judged"
_LENGTH = 20
"""Characters of a value that is not a number."""


def verdict_grid(verdict: Verdict) -> Grid:
    """One row for each figure that differs, one for all that are equal, then the latencies."""
    rows = [(figure.name, *_pair(figure), _judgement(figure)) for figure in verdict.different]
    equal = len(verdict.figures) - len(rows)
    rows.append((f"{equal} figure{'' if equal == 1 else 's'}", "", "", "equal"))
    for item in verdict.latencies:
        ratio = "-" if item.ratio is None else f"{item.ratio:.2f}x"
        times = (f"{item.original_ms:.3g} ms", f"{item.rerun_ms:.3g} ms")
        rows.append((f"{item.variant}/latency_ms_p50", *times, ratio))
    return Grid(COLUMNS, tuple(rows))


def print_verdict(verdict: Verdict, source: str, console: Console) -> None:
    """Print the table, and what else differs between the two runs."""
    console.print()
    console.print(f"rerun of {source}", style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print()
    console.print(to_rich(verdict_grid(verdict), width=console.width))
    console.print()
    if verdict.latencies:
        console.print(NOTE, markup=False, highlight=False)
    for line in reason_lines(verdict):
        console.print(line, markup=False, highlight=False)


def reason_lines(verdict: Verdict) -> list[str]:
    """Say what could explain the differences, or what made none."""
    reasons = [f"- {reason.text}" for reason in verdict.reasons]
    if verdict.is_equal:
        lead = f"all {len(verdict.figures)} figures are equal, bit for bit"
        return [f"{lead}, although:", *reasons] if reasons else [lead]
    if reasons:
        return ["figures differ. What else differs between the two runs:", *reasons]
    return [
        "figures differ, and nothing that the records hold explains it: configuration, data, "
        "threads, versions, processor and code are the same"
    ]


def _pair(figure: Figure) -> tuple[str, str]:
    """Both values, with as many digits as it takes to tell them apart."""
    short = (_text(figure.original), _text(figure.rerun))
    if short[0] != short[1]:
        return short
    whole = (str(figure.original), str(figure.rerun))
    return whole if figure.difference is not None else short


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = shown(value)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."


def _judgement(figure: Figure) -> str:
    if figure.difference is None:
        return "different"
    return f"{figure.difference:+.3g}"
