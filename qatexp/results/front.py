"""Which of several trials no other one beats: the Pareto front of accuracy and its costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SIZE_TOLERANCE = 0.01
"""Files of one network differ by a few bytes of names and lengths, which no one pays for."""
LATENCY_TOLERANCE = 0.05
"""Medians of the same file differ by some percent from run to run."""


@dataclass(frozen=True, slots=True)
class Point:
    """A gain to maximise and costs to minimise; every cost has its own tolerance."""

    gain: float
    costs: tuple[float, ...]


def front(candidates: Sequence[Point], *, tolerances: tuple[float, ...]) -> list[int]:
    """Find the points that no other point dominates, in order of falling gain.

    A point dominates another one if its gain is not smaller, none of its costs is clearly larger,
    and its gain is larger or a cost clearly smaller. A cost is clearly larger if it exceeds the
    other by more than its tolerance, a share of the larger one.

    Tolerances make dominance intransitive, so points are admitted from the best gain down: each
    point that is left out is dominated by one that was admitted before it or took its place.

    Args:
        candidates: the points; of equal ones all are on the front.
        tolerances: one per cost, 0..1.

    Returns:
        Indices into `candidates`.
    """
    admitted: list[int] = []
    order = sorted(range(len(candidates)), key=lambda i: (-candidates[i].gain, candidates[i].costs))
    for index in order:
        point = candidates[index]
        if any(_dominates(candidates[other], point, tolerances) for other in admitted):
            continue
        admitted = [
            other for other in admitted if not _dominates(point, candidates[other], tolerances)
        ]
        admitted.append(index)
    return admitted


def _dominates(one: Point, other: Point, tolerances: tuple[float, ...]) -> bool:
    if one.gain < other.gain:
        return False
    pairs = list(zip(one.costs, other.costs, tolerances, strict=True))
    if any(_clearly_less(theirs, mine, tolerance) for mine, theirs, tolerance in pairs):
        return False
    cheaper = any(_clearly_less(mine, theirs, tolerance) for mine, theirs, tolerance in pairs)
    return cheaper or one.gain > other.gain


def _clearly_less(one: float, other: float, tolerance: float) -> bool:
    return one < other * (1.0 - tolerance)
