"""One panel of the trade-off figure: accuracy against one cost of every trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatexp.figures.placement import Anchor
from qatexp.figures.style import COLOURS, FAINT, INK, tidy_, title_
from qatexp.records import Record, Variant
from qatexp.results.comparable import by_data_set, headline_conditions, latencies_compare
from qatexp.results.files import File, files, files_on_front
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE
from qatexp.results.units import size_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS: dict[str, dict[str, Any]] = {
    "qat": {"marker": "o", "markersize": 7.5},
    "ptq": {"marker": "D", "markersize": 5.5, "markerfacecolor": "white"},
    "fallen": {"marker": "v", "markersize": 7.0, "markerfacecolor": "white"},
    "fp32": {"marker": "s", "markersize": 8.0, "color": COLOURS["fp32"]},
}
"""Markers of the variants; `fallen` is one that lies below the axis."""
FRONT_LOOK: dict[str, Any] = {"color": FAINT, "linewidth": 4.0, "solid_capstyle": "round"}
_MOST_CONNECTED = 16
"""With more trials than this, no lines lead from ptq to qat."""
_LOG_FROM = 3.0
"""Ratio of the largest to the smallest cost from which the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What a panel shows; points are pairs of a cost and `deployed_top1`."""

    title: str
    axis: str
    cost: Callable[[Variant], float]
    tolerance: float
    """Share by which costs have to differ to count as different."""
    compares: Callable[[Sequence[Record]], bool]
    """Whether the costs of these trials compare; where not, there is no front."""
    trials: tuple[Record, ...]

    def ends(self, record: Record) -> list[Anchor]:
        """Where ptq and qat of a trial are, as far as it has them; the last one is deployable."""
        present = [record.variants[name] for name in ("ptq", "qat") if name in record.variants]
        return [(self.cost(variant), variant.deployed_top1) for variant in present]

    def baselines(self) -> list[Anchor]:
        """Fp32 once for all trials that share it."""
        return list(dict.fromkeys(self.at(f) for f in files(self.trials) if f.name == "fp32"))

    def at(self, file: File) -> Anchor:
        """Where a file is."""
        return self.cost(file.variant), file.variant.deployed_top1

    def fronts(self) -> list[list[File]]:
        """The files on this panel's own fronts, one for each data set, the best accuracy first.

        Their indices are into `trials`. There is none for a single trial.
        """
        if len(self.trials) == 1:
            return []
        tolerances = (self.tolerance,)
        return [
            files_on_front(
                self.trials, group, costs=lambda v: (self.cost(v),), tolerances=tolerances
            )
            for group in by_data_set(self.trials).values()
            if self.compares([self.trials[index] for index in group])
        ]

    def steps(self, right: float) -> list[tuple[Anchor, Anchor]]:
        """The fronts as lines, to the `right` end of the axis."""
        steps: list[tuple[Anchor, Anchor]] = []
        for own in self.fronts():
            corners = sorted(self.at(file) for file in own)
            following = [*corners[1:], (right, corners[-1][1])]
            for (x, y), (next_x, next_y) in zip(corners, following, strict=True):
                steps += [((x, y), (next_x, y)), ((next_x, y), (next_x, next_y))]
        return steps


def panels(trials: Sequence[Record]) -> tuple[Panel, Panel]:
    """Accuracy against the size of the file, and against the time of one call."""
    variants = [variant for record in trials for variant in record.variants.values()]
    unit = size_unit(variant.size_bytes for variant in variants)
    return (
        Panel(
            "Accuracy against size",
            f"size of the file, {unit.name}",
            lambda variant: variant.size_bytes / unit.size_bytes,
            SIZE_TOLERANCE,
            lambda _: True,
            tuple(trials),
        ),
        Panel(
            "Accuracy against latency",
            latency_axis(trials),
            lambda variant: variant.latency_ms_p50,
            LATENCY_TOLERANCE,
            latencies_compare,
            tuple(trials),
        ),
    )


def latency_axis(trials: Sequence[Record]) -> str:
    """What an axis of latencies says: unlike those of one, those of several are at one pace."""
    pace = " at the median fp32 latency" if len(trials) > 1 and latencies_compare(trials) else ""
    return f"latency p50, ms{pace}{headline_conditions(trials)}"


def draw_panel_(axes: Axes, panel: Panel, colours: Sequence[str]) -> None:
    """Draw everything but the labels.

    Args:
        axes: where; the limits of accuracy are final.
        panel: what.
        colours: one per trial.
    """
    tidy_(axes)
    title_(axes, panel.title)
    axes.set_xlabel(panel.axis, color=INK)
    _scale_x_(axes, [panel.cost(v) for record in panel.trials for v in record.variants.values()])
    for record, colour in zip(panel.trials, colours, strict=True):
        _draw_trial_(axes, panel, record, colour)
    for x, y in panel.baselines():
        axes.axhline(y, color=COLOURS["fp32"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.plot(x, y, linestyle="", zorder=3, **LOOKS["fp32"])
    _, right = axes.get_xlim()
    for ends in panel.steps(right):
        axes.plot(*zip(*ends, strict=True), zorder=1, **FRONT_LOOK)


def _scale_x_(axes: Axes, costs: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(costs), max(costs)
    if low > 0.0 and high / low >= _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.35, high * 1.35)
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 10.0 else (1.0, 2.0, 5.0)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_trial_(axes: Axes, panel: Panel, record: Record, colour: str) -> None:
    """Draw ptq and qat, or a mark at the lower edge for what lies far below it."""
    bottom, _ = axes.get_ylim()
    present = [name for name in ("ptq", "qat") if name in record.variants]
    points = [(x, max(y, bottom)) for x, y in panel.ends(record)]
    for name, (x, y) in zip(present, points, strict=True):
        fallen = record.variants[name].deployed_top1 < bottom
        look = LOOKS["fallen" if fallen else name]
        axes.plot(x, y, color=colour, linestyle="", clip_on=False, zorder=4, **look)
    if len(panel.trials) <= _MOST_CONNECTED:
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.8, alpha=0.35, zorder=2)
