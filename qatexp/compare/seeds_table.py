"""Seeds as a table: mean and spread of every setting, and its distance from one of them."""

from __future__ import annotations

from collections.abc import Sequence

from qatexp.compare.collect import Trial
from qatexp.compare.grid import Column, Grid
from qatexp.compare.seeds import RULE, Difference, Group, differences
from qatexp.results.units import MISSING, counted, percent, points

SPREAD = "std is the standard deviation of the sample, range the lowest to the highest seed"
_MOST_NAMED = 6


def reference_group(groups: Sequence[Group], baseline: Trial | None) -> int:
    """The group that others are compared with: the baseline's, or else the best."""
    name = None if baseline is None else baseline.name
    return next((index for index, group in enumerate(groups) if name in group.trials), 0)


def seeds_grid(groups: Sequence[Group], reference: int) -> Grid:
    """One row per setting, the best mean first."""
    apart = against(groups, reference)
    rows = []
    for index, group in enumerate(groups):
        std = MISSING if group.std is None else percent(group.std)
        spread = f"{percent(min(group.samples))} .. {percent(max(group.samples))}"
        verdict = (MISSING, "") if index == reference else _verdict(apart.get(index))
        figures = (str(group.n), percent(group.mean), std, spread)
        rows.append((group.label, *figures, *verdict))
    headings = ("seeds", "top-1\nmean", "std", "range")
    columns = (
        Column("setting", is_number=False),
        *map(Column, headings),
        Column("against\nreference"),
        Column("verdict", is_number=False),
    )
    return Grid(columns, tuple(rows), frozenset({reference}))


def seeds_notes(groups: Sequence[Group], reference: int) -> list[str]:
    """What the table says, in words: the reference, what is clearly apart from it, the rule."""
    apart = against(groups, reference)
    larger = [groups[i].label for i, found in apart.items() if found.is_larger_than_noise]
    named = "; ".join(larger[:_MOST_NAMED]) + ("; ..." if len(larger) > _MOST_NAMED else "")
    which = f": {named}" if larger else ""
    return [
        f"reference: {groups[reference].label}; {counted(len(larger), 'difference')} from it of "
        f"{len(apart)} larger than the noise{which}",
        RULE,
        SPREAD,
        *_too_few(groups),
        *_repeats(groups),
    ]


def _too_few(groups: Sequence[Group]) -> list[str]:
    """Two seeds say next to nothing of their own spread, so that the test finds little."""
    if max(group.n for group in groups) > 2:
        return []
    return [
        "two seeds can hardly show anything: within the noise is what they cannot tell apart, not "
        "what is equal; take three or more"
    ]


def _repeats(groups: Sequence[Group]) -> list[str]:
    """Which trials are no sample of their own."""
    repeated = [group for group in groups if group.n < len(group.trials)]
    if not repeated:
        return []
    counts = "; ".join(
        f"{group.label}: {counted(len(group.trials), 'trial')} of {counted(group.n, 'seed')}"
        for group in repeated[:_MOST_NAMED]
    )
    more = "; ..." if len(repeated) > _MOST_NAMED else ""
    return [f"a seed that was run several times counts once, by its mean ({counts}{more})"]


def against(groups: Sequence[Group], reference: int) -> dict[int, Difference]:
    """The difference of other groups from the reference: their mean minus the reference's.

    Groups on another data set are not among them.
    """
    found = {}
    for pair in differences(groups):
        if pair.other == reference:
            found[pair.one] = pair
        elif pair.one == reference:
            found[pair.other] = Difference(pair.other, pair.one, 0.0 - pair.points, pair.p)
    return found


def _verdict(found: Difference | None) -> tuple[str, str]:
    if found is None:
        return MISSING, "another data set"
    if found.p is None:
        return points(found.points), "one seed"
    words = "larger than noise" if found.is_larger_than_noise else "within noise"
    return points(found.points), f"{words} (p {found.p:.2g})"
