"""How sizes, times and shares are written, in tables and figures alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MISSING = "-"
"""Stands for a figure that was not measured."""


@dataclass(frozen=True, slots=True)
class SizeUnit:
    """One unit for all sizes of a table or an axis; kB is 1000 bytes."""

    name: str
    size_bytes: int
    decimals: int

    def number(self, size_bytes: float) -> str:
        """The number alone, for columns and axes that name the unit: ``1,092.4``."""
        return f"{size_bytes / self.size_bytes:,.{self.decimals}f}"

    def text(self, size_bytes: float) -> str:
        """The number with its unit: ``1,092.4 kB``."""
        return f"{self.number(size_bytes)} {self.name}"


KILOBYTE = SizeUnit("kB", 1000, 1)
MEGABYTE = SizeUnit("MB", 1000**2, 2)


def size_unit(sizes_bytes: Iterable[int]) -> SizeUnit:
    """Choose the unit in which the smallest of the sizes still shows its digits."""
    return MEGABYTE if min(sizes_bytes, default=0) >= MEGABYTE.size_bytes else KILOBYTE


def percent(value: float) -> str:
    """Percent, 0..100, with two decimals and no sign: ``81.03``."""
    return f"{value:.2f}"


def share(value: float) -> str:
    """A share, 0..1, as percent: ``99.95``."""
    return percent(100.0 * value)


def points(difference: float) -> str:
    """A difference of two percentages, always with its sign: ``+5.12``."""
    return f"{difference:+.2f}"


def milliseconds(value: float) -> str:
    """A time with three significant digits and no unit: ``0.0123``, ``1.23``, ``123``."""
    if not math.isfinite(value) or value <= 0.0:
        return f"{value:g}"
    rounded = float(f"{value:.2e}")
    decimals = max(0, 2 - math.floor(math.log10(rounded)))
    return f"{rounded:,.{decimals}f}"


def factor(value: float) -> str:
    """A ratio: ``2.31x``."""
    return f"{value:.2f}x"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 thread``, ``2 threads``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
