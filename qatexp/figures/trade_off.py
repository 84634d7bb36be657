"""Accuracy against what it costs: size of the file, and time of one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from qatexp.errors import StoreError
from qatexp.figures.front import LATENCY_TOLERANCE, SIZE_TOLERANCE, Point, front
from qatexp.figures.placement import Anchor, label_points_
from qatexp.figures.style import CATEGORIES, COLOURS, FAINT, INK, new_figure, save, tidy_, title_
from qatexp.figures.trials import Knob, deployable, knobs, label
from qatexp.figures.units import counted, percent, size_unit
from qatexp.records import Record, Variant

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 8
"""With more trials than this, only those on the front are labelled."""
_LOG_FROM = 3.0
"""Ratio of the largest to the smallest cost from which the axis is logarithmic."""

_QAT: dict[str, Any] = {"marker": "o", "markersize": 7.5}
_PTQ: dict[str, Any] = {"marker": "D", "markersize": 5.5}
_FRONT: dict[str, Any] = {
    "color": FAINT,
    "linewidth": 4.0,
    "solid_capstyle": "round",
    "zorder": 1,
}
_FALLEN: dict[str, Any] = {"marker": "v", "markersize": 7.0}


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    axis: str
    cost: Callable[[Variant], float]
    tolerance: float


def trade_off(records: Sequence[Record], path: Path) -> None:
    """Draw accuracy against size and against latency, with the Pareto front of each panel.

    A dot is the deployed qat file of a trial, a diamond its ptq file, a square fp32. PTQ that
    fails far below everything else is drawn as a triangle at the lower edge.

    Args:
        records: the trials; those that have not finished, or have nothing quantized, are left out.
        path: the PNG file, in a folder that exists.

    Raises:
        StoreError: no trial is left to draw, or the file cannot be written.
    """
    trials = [r for r in records if r.status == "finished" and deployable(r) is not None]
    if not trials:
        raise StoreError(f"cannot draw {path}: no trial has finished with a quantized variant")
    differing = knobs(trials)
    figure = new_figure(11.0, 5.2)
    grid = figure.subplots(1, 2, sharey=True)
    colours = _Colours(trials, differing)
    bottom, top = _limits(trials)
    grid[0].set_ylim(bottom, top)
    grid[0].set_ylabel("top-1 of the deployed file, % of the test images", color=INK)
    figure.legend(
        handles=_legend(trials, colours, bottom),
        loc="outside lower center",
        ncols=8,
        frameon=False,
        fontsize=9,
    )
    figure.suptitle(_title(trials), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    for axes, panel in zip(grid, _panels(trials), strict=True):
        _draw_panel_(axes, panel, trials, colours, bottom)
    for axes, panel in zip(grid, _panels(trials), strict=True):
        _label_trials_(figure, axes, panel, trials, differing)
    save(figure, path)


def _panels(trials: Sequence[Record]) -> tuple[_Panel, _Panel]:
    variants = [variant for record in trials for variant in record.variants.values()]
    unit = size_unit(variant.size_bytes for variant in variants)
    return (
        _Panel(
            "Accuracy against size",
            f"size of the file, {unit.name}",
            lambda variant: variant.size_bytes / unit.size_bytes,
            SIZE_TOLERANCE,
        ),
        _Panel(
            "Accuracy against latency",
            f"latency p50, ms{_conditions(variants)}",
            lambda variant: variant.latency_ms_p50,
            LATENCY_TOLERANCE,
        ),
    )


def _conditions(variants: Sequence[Variant]) -> str:
    """Threads and batch size of the headline figures, where all trials have the same."""
    points = {(v.latencies[0].threads, v.latencies[0].batch_size) for v in variants if v.latencies}
    if len(points) != 1:
        return ""
    threads, batch_size = points.pop()
    return f" ({counted(threads, 'thread')}, batch {batch_size})"


class _Colours:
    """A colour per value of the first setting that has few enough values to tell apart."""

    def __init__(self, trials: Sequence[Record], differing: Sequence[Knob]) -> None:
        self.by_value: dict[str, str] = {}
        self._knob: Knob | None = None
        for knob in differing:
            values = list(dict.fromkeys(knob.phrase(record) for record in trials))
            if len(values) <= len(CATEGORIES):
                self._knob = knob
                self.by_value = dict(zip(values, CATEGORIES, strict=False))
                return

    def of(self, record: Record) -> str:
        return COLOURS["qat"] if self._knob is None else self.by_value[self._knob.phrase(record)]


def _limits(trials: Sequence[Record]) -> tuple[float, float]:
    """Lower and upper end of the accuracy axis: room for what could be deployed, and for fp32."""
    shown = [v.deployed_top1 for r in trials if (v := deployable(r)) is not None]
    shown += [r.variants["fp32"].deployed_top1 for r in trials if "fp32" in r.variants]
    low, high = min(shown), max(shown)
    span = max(high - low, 2.0)
    nearby = [accuracy for accuracy in _ptq_accuracies(trials) if accuracy >= low - span]
    return min([low, *nearby]) - 0.15 * span, max([high, *nearby]) + 0.12 * span


def _ptq_accuracies(trials: Sequence[Record]) -> list[float]:
    return [r.variants["ptq"].deployed_top1 for r in trials if "ptq" in r.variants]


def _draw_panel_(
    axes: Axes, panel: _Panel, trials: Sequence[Record], colours: _Colours, bottom: float
) -> None:
    tidy_(axes)
    title_(axes, panel.title)
    axes.set_xlabel(panel.axis, color=INK)
    _scale_x_(axes, [panel.cost(v) for record in trials for v in record.variants.values()])
    for record in trials:
        _draw_trial_(axes, panel, record, colours.of(record), bottom)
    for x, y in _baselines(panel, trials):
        axes.axhline(y, color=COLOURS["fp32"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.plot(x, y, marker="s", markersize=8, color=COLOURS["fp32"], linestyle="", zorder=3)
    _draw_front_(axes, panel, trials)


def _scale_x_(axes: Axes, costs: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(costs), max(costs)
    if low > 0.0 and high / low >= _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.35, high * 1.35)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.15 * (high - low) or 0.1 * high
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_trial_(axes: Axes, panel: _Panel, record: Record, colour: str, bottom: float) -> None:
    """Draw ptq, qat, and the line between them, which is what fine-tuning regained."""
    ends = []
    for name, look in (("ptq", _PTQ), ("qat", _QAT)):
        if name not in record.variants:
            continue
        variant = record.variants[name]
        x, y = panel.cost(variant), max(variant.deployed_top1, bottom)
        style = look | (_FALLEN if variant.deployed_top1 < bottom else {})
        style = style | {"markerfacecolor": "white" if name == "ptq" else colour}
        axes.plot(x, y, color=colour, linestyle="", clip_on=False, zorder=4, **style)
        ends.append((x, y))
    axes.plot(*zip(*ends, strict=True), color=colour, linewidth=0.8, alpha=0.35, zorder=2)


def _baselines(panel: _Panel, trials: Sequence[Record]) -> list[Anchor]:
    """Fp32 once for all trials that share it; the time of one file is measured in every trial."""
    groups: dict[tuple[float, int], list[float]] = {}
    for record in trials:
        if "fp32" in record.variants:
            fp32 = record.variants["fp32"]
            key = (fp32.deployed_top1, fp32.size_bytes)
            groups.setdefault(key, []).append(panel.cost(fp32))
    return [(median(costs), accuracy) for (accuracy, _), costs in groups.items()]


def _front(panel: _Panel, trials: Sequence[Record]) -> list[int]:
    candidates = [
        Point(variant.deployed_top1, (panel.cost(variant),))
        for record in trials
        if (variant := deployable(record)) is not None
    ]
    return front(candidates, tolerances=(panel.tolerance,))


def _anchor(panel: _Panel, record: Record) -> Anchor:
    variant = deployable(record)
    assert variant is not None
    return panel.cost(variant), variant.deployed_top1


def _draw_front_(axes: Axes, panel: _Panel, trials: Sequence[Record]) -> None:
    """Draw the best accuracy that each cost can buy, as steps."""
    for ends in _steps(axes, panel, trials):
        axes.plot(*zip(*ends, strict=True), **_FRONT)


def _steps(axes: Axes, panel: _Panel, trials: Sequence[Record]) -> list[tuple[Anchor, Anchor]]:
    """The horizontal parts of the front, from each corner to where the next one begins."""
    corners = sorted(_anchor(panel, trials[index]) for index in _front(panel, trials))
    _, right = axes.get_xlim()
    steps: list[tuple[Anchor, Anchor]] = []
    for (x, y), (until, above) in zip(
        corners, [*corners[1:], (right, corners[-1][1])], strict=True
    ):
        steps += [((x, y), (until, y)), ((until, y), (until, above))]
    return steps


def _label_trials_(
    figure: Figure, axes: Axes, panel: _Panel, trials: Sequence[Record], differing: Sequence[Knob]
) -> None:
    best = _front(panel, trials)
    rest = [index for index in range(len(trials)) if index not in best]
    chosen = best + rest if len(trials) <= _MOST_LABELS else best
    labels = [(_anchor(panel, trials[i]), label(trials[i], differing)) for i in chosen]
    baselines = _baselines(panel, trials)
    labels += [(anchor, "fp32") for anchor in baselines]
    points = [_anchor(panel, record) for record in trials] + baselines
    points += [
        (panel.cost(record.variants["ptq"]), record.variants["ptq"].deployed_top1)
        for record in trials
        if "ptq" in record.variants
    ]
    left, right = axes.get_xlim()
    lines = _steps(axes, panel, trials) + [((left, y), (right, y)) for _, y in baselines]
    label_points_(figure, axes, labels, points=points, lines=lines)


def _legend(trials: Sequence[Record], colours: _Colours, bottom: float) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def marker(text: str, face: str, look: dict[str, Any], colour: str = INK) -> Line2D:
        style: dict[str, Any] = {"color": colour, "markerfacecolor": face, "linestyle": "", **look}
        return Line2D([], [], label=text, **style)

    handles: list[Artist] = [
        Patch(color=colour, label=value) for value, colour in colours.by_value.items()
    ]
    if any("qat" in record.variants for record in trials):
        handles.append(marker("qat", INK, _QAT))
    ptq = _ptq_accuracies(trials)
    if any(accuracy >= bottom for accuracy in ptq):
        handles.append(marker("ptq", "white", _PTQ))
    if any(accuracy < bottom for accuracy in ptq):
        fallen = f"ptq below the axis, down to {percent(min(ptq))} %"
        handles.append(marker(fallen, "white", {**_PTQ, **_FALLEN}))
    if any("fp32" in record.variants for record in trials):
        square = {"marker": "s", "markersize": 7.0}
        handles.append(marker("fp32", COLOURS["fp32"], square, COLOURS["fp32"]))
    handles.append(Line2D([], [], label="Pareto front", **_FRONT))
    return handles


def _title(trials: Sequence[Record]) -> str:
    names = list(dict.fromkeys(record.name for record in trials))
    shown = ", ".join(names) if len(names) <= 3 else f"{len(names)} experiments"
    return f"{shown}: {counted(len(trials), 'trial')}" if len(trials) > 1 else shown
