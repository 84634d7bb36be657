"""Accuracy against what it costs: size of the file, and time of one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatexp.errors import StoreError
from qatexp.figures.panel import FRONT_LOOK, LOOKS, Panel, draw_panel_, panels
from qatexp.figures.placement import Anchor, label_points_
from qatexp.figures.style import CATEGORIES, COLOURS, INK, new_figure, save
from qatexp.records import Record
from qatexp.results.files import FILES, File, with_shared_figures
from qatexp.results.trials import Knob, deployable, knobs, label
from qatexp.results.units import counted, percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_ROOM = 60
"""Characters beside the title."""


def trade_off(records: Sequence[Record], path: Path) -> None:
    """Draw accuracy against size and against latency, with the Pareto front of each panel.

    On a front may be any file: fp32, ptq or qat of any trial. Only these points are labelled. There
    is one front for each data set, and none of latencies that were not taken alike.

    A dot is the deployed qat file of a trial, a diamond its ptq file, a square fp32. PTQ that
    fails far below everything else is drawn as a triangle at the lower edge.

    Args:
        records: the trials; those that have not finished, or have nothing quantized, are left out.
        path: the PNG file, in a folder that exists.

    Raises:
        StoreError: no trial is left to draw, or the file cannot be written.
    """
    finished = [r for r in records if r.status == "finished" and deployable(r) is not None]
    trials = with_shared_figures(finished)
    if not trials:
        raise StoreError(f"cannot draw {path}: no trial has finished with a quantized variant")
    differing = knobs(trials)
    colours, shades = _colours(trials, differing)
    bottom, top = _limits(trials)
    figure = new_figure(11.0, 5.2)
    grid = figure.subplots(1, 2, sharey=True)
    grid[0].set_ylim(bottom, top)
    # The room for labels above the best trial may go beyond 100 %, the scale does not.
    grid[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value <= 100.0 else "")
    grid[0].set_ylabel("top-1 of the deployed file, % of the test images", color=INK)
    figure.suptitle(_title(trials), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    _add_legends_(figure, _markers(trials, bottom), shades)
    pairs = list(zip(grid, panels(trials), strict=True))
    for axes, panel in pairs:
        draw_panel_(axes, panel, colours)
    # Only now: where text fits depends on the layout of the whole figure.
    for axes, panel in pairs:
        _label_(figure, axes, panel, differing)
    save(figure, path)


def _colours(
    trials: Sequence[Record], differing: Sequence[Knob]
) -> tuple[list[str], dict[str, str]]:
    """Colour trials by the first setting whose values can be told apart, and fit the legend.

    Returns:
        A colour per trial, and the meaning of the colours, empty if they have none.
    """
    for knob in differing:
        values = [knob.phrase(record) for record in trials]
        different = list(dict.fromkeys(values))
        if len(different) <= len(CATEGORIES) and len("".join(different)) <= _LEGEND_ROOM:
            shades = dict(zip(different, CATEGORIES, strict=False))
            return [shades[value] for value in values], shades
    return [COLOURS["qat"]] * len(trials), {}


def _limits(trials: Sequence[Record]) -> tuple[float, float]:
    """Lower and upper end of the accuracy axis: room for what could be deployed, and for fp32."""
    shown = [v.deployed_top1 for r in trials if (v := deployable(r)) is not None]
    shown += [r.variants["fp32"].deployed_top1 for r in trials if "fp32" in r.variants]
    low, high = min(shown), max(shown)
    span = max(high - low, 2.0)
    nearby = [accuracy for accuracy in _ptq_accuracies(trials) if accuracy >= low - span]
    return min([low, *nearby]) - 0.15 * span, max([high, *nearby]) + 0.2 * span


def _ptq_accuracies(trials: Sequence[Record]) -> list[float]:
    return [r.variants["ptq"].deployed_top1 for r in trials if "ptq" in r.variants]


def _label_(figure: Figure, axes: Axes, panel: Panel, differing: Sequence[Knob]) -> None:
    baselines = panel.baselines()
    left, right = axes.get_xlim()
    label_points_(
        figure,
        axes,
        [*_labels(panel, differing), *((anchor, "fp32") for anchor in baselines)],
        points=[*baselines, *(end for record in panel.trials for end in panel.ends(record))],
        lines=[*panel.steps(right), *(((left, y), (right, y)) for _, y in baselines)],
    )


def _labels(panel: Panel, differing: Sequence[Knob]) -> list[tuple[Anchor, str]]:
    """One trial is labelled by its variants, several where they are on the front."""
    trials = panel.trials
    if len(trials) == 1:
        present = [name for name in ("ptq", "qat") if name in trials[0].variants]
        return list(zip(panel.ends(trials[0]), present, strict=True))
    fronts = (file for own in panel.fronts() for file in own)
    named = [(file, trials[file.trials[0]]) for file in fronts if file.name != "fp32"]
    found = ((panel.at(file), _file_label(file, record, differing)) for file, record in named)
    return list(dict.fromkeys(found))  # one file may have been timed on several machines


def _file_label(file: File, record: Record, differing: Sequence[Knob]) -> str:
    """A qat file by all that differs; a ptq file by what it depends on, and as such."""
    if file.name == "qat":
        return label(record, differing)
    knobs_of_ptq = [knob for knob in differing if not knob.key.startswith("schedule.qat.")]
    return " ".join(["ptq", *([label(record, knobs_of_ptq)] if knobs_of_ptq else [])])


def _markers(trials: Sequence[Record], bottom: float) -> dict[str, dict[str, Any]]:
    """The markers that appear in the figure, by their meaning."""
    ptq = _ptq_accuracies(trials)
    fallen = f"ptq below the axis, down to {percent(min(ptq))} %" if ptq else ""
    present = {
        "qat": (any("qat" in record.variants for record in trials), LOOKS["qat"]),
        "ptq": (any(accuracy >= bottom for accuracy in ptq), LOOKS["ptq"]),
        fallen: (any(accuracy < bottom for accuracy in ptq), LOOKS["fallen"]),
        "fp32": (any("fp32" in record.variants for record in trials), LOOKS["fp32"]),
    }
    markers = {
        meaning: {"color": INK, "linestyle": "", **look}
        for meaning, (is_there, look) in present.items()
        if is_there
    }
    kinds = ", ".join(name for name in FILES if any(name in r.variants for r in trials))
    front = {f"Pareto front of all files ({kinds})": FRONT_LOOK}
    return markers | (front if len(trials) > 1 else {})


def _add_legends_(
    figure: Figure, markers: dict[str, dict[str, Any]], shades: dict[str, str]
) -> None:
    """Explain the markers below the panels, and the colours, if they mean anything, above."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    style: dict[str, Any] = {"frameon": False, "fontsize": 9}
    below: list[Artist] = [Line2D([], [], label=text, **look) for text, look in markers.items()]
    figure.legend(handles=below, loc="outside lower center", ncols=len(below), **style)
    if shades:
        above: list[Artist] = [Patch(color=colour, label=text) for text, colour in shades.items()]
        figure.legend(handles=above, loc="upper right", ncols=len(above), **style)


def _title(trials: Sequence[Record]) -> str:
    names = list(dict.fromkeys(record.name for record in trials))
    shown = names[0] if len(names) == 1 else counted(len(names), "experiment")
    return f"{shown}: {counted(len(trials), 'trial')}" if len(trials) > 1 else shown
