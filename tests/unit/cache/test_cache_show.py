"""The list of a cache: one line for each item, on a narrow terminal too."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from qatexp.cache.items import Item, Kind
from qatexp.cache.show import print_items


@pytest.fixture
def item():
    """A stage that a sweep and two further runs have used."""
    trials = tuple(f"sweep/2026-11-24_19-00-00/{number}" for number in range(12))
    runs = (*trials, "single/2026-11-24_20-00-00", "single/2026-11-24_20-30-00")
    path = Path("multirun/.stages/evaluate_control") / ("a" * 64)
    return Item(path, Kind.finished, 350, 3000.0, 60.0, 0, runs=runs)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_an_item_is_one_line_with_its_stage_whole(item, capsys, width):
    print_items([item, item], Console(width=width))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line.split()[0] for line in lines[3:]] == ["evaluate_control", "evaluate_control", "2"]


def test_the_first_run_stands_for_all_that_use_an_item(item, capsys):
    print_items([item], Console(width=80))
    row = next(line for line in capsys.readouterr().out.splitlines() if "control" in line)
    assert row.rstrip().endswith(" sweep/2026-11-24_19-00-00 x12 +2")


def test_a_narrow_terminal_goes_without_hash_and_age(item, capsys):
    print_items([item], Console(width=80))
    narrow = capsys.readouterr().out
    print_items([item], Console(width=120))
    wide = capsys.readouterr().out
    for text in ("hash", "a" * 16, "50 min"):
        assert text in wide
        assert text not in narrow
