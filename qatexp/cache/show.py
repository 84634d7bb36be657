"""A stage cache on a terminal, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qatexp.cache.items import DECODED, Item
from qatexp.compare.grid import Column, Grid, to_rich

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = (
    Column("stage", is_number=False),
    Column("hash", is_number=False, is_spare=True),
    Column("kind", is_number=False),
    Column("size"),
    Column("age", is_spare=True),
    Column("last\nuse"),
    Column("used by", is_number=False),
)
_DAY = 86_400.0
_UNITS = ((_DAY, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_LEAST_USERS = 10
"""Characters of what uses an item, however narrow the terminal is."""
_SHORT_HASH = 16
"""Characters of a hash; names of decoded images are longer."""


def print_items(items: Sequence[Item], console: Console) -> None:
    """Print a table of items and a line with totals."""
    if items:
        grid = Grid(_COLUMNS, tuple(map(_row, items))).narrowed(console.width)
        console.print(to_rich(_cut_users(grid, console.width), width=console.width))
        console.print()
    console.print(totals(items), soft_wrap=True, highlight=False)


def _cut_users(grid: Grid, width: int) -> Grid:
    """Cut what uses an item to the room that is left: an item is one line, its stage whole."""
    others = sum(grid.min_width(index) + 1 for index in range(len(grid.columns) - 1))
    room = max(width - others, _LEAST_USERS)
    rows = [
        (*row, users if len(users) <= room else f"{users[: room - 1]}…")
        for *row, users in grid.rows
    ]
    return Grid(grid.columns, tuple(rows), grid.marked)


def totals(items: Sequence[Item]) -> str:
    """How many items of each kind there are, and how large they are together."""
    counts = Counter(item.kind.value for item in items)
    sizes = {
        kind: sum(item.size_bytes for item in items if item.kind.value == kind) for kind in counts
    }
    parts = [f"{count} {kind} ({readable_bytes(sizes[kind])})" for kind, count in counts.items()]
    whole = readable_bytes(sum(sizes.values()))
    noun = "item" if len(items) == 1 else "items"
    return f"{len(items)} {noun}, {whole}" + (f": {', '.join(parts)}" if parts else "")


def to_json(items: Sequence[Item]) -> str:
    """The same as JSON, with all figures in full: bytes and seconds."""
    content = [_plain(item) for item in items]
    return json.dumps({"items": content, "size_bytes": sum(i.size_bytes for i in items)}, indent=2)


def _plain(item: Item) -> dict[str, Any]:
    return {
        "stage": item.stage,
        "hash": item.hash,
        "kind": item.kind.name,
        "path": str(item.path),
        "size_bytes": item.size_bytes,
        "age_seconds": round(item.age_seconds, 1),
        "idle_seconds": round(item.idle_seconds, 1),
        "holder": item.holder or None,
        "runs": list(item.runs),
        "abandoned": item.is_abandoned,
    }


def _row(item: Item) -> tuple[str, ...]:
    size, age = readable_bytes(item.size_bytes), readable_seconds(item.age_seconds)
    idle = readable_seconds(item.idle_seconds)
    # `cifar10-train-3fe5...`: the split says more than the end of the hash.
    short = item.hash[:_SHORT_HASH]
    return item.stage, short, item.kind.value, size, age, idle, _users(item)


def _users(item: Item) -> str:
    """A living process, else the first sweep with the number of its trials, or single run.

    How many others there are follows.
    """
    if item.stage == DECODED:
        return item.holder or "(not told by records)"
    sweeps = Counter(run.rpartition("/")[0] if _is_trial(run) else run for run in item.runs)
    texts = [f"{name} x{count}" if count > 1 else name for name, count in sweeps.items()]
    if item.holder:
        texts.insert(0, item.holder)
    if not texts:
        return "nobody, abandoned" if item.is_abandoned else "nobody"
    return texts[0] if len(texts) == 1 else f"{texts[0]} +{len(texts) - 1}"


def _is_trial(run: str) -> bool:
    return "/" in run and run.rpartition("/")[2].isdecimal()


def readable_bytes(count: int) -> str:
    """``12.3 MB``, in powers of 1000."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def readable_seconds(seconds: float) -> str:
    """``3.5 h``, in the largest unit of which there is at least one."""
    for length, unit in _UNITS:
        if seconds >= length:
            value = seconds / length
            return f"{value:.0f} {unit}" if unit in ("s", "min") else f"{value:.1f} {unit}"
    return "0 s"
