"""What a search has found: the trials that no other one beats in all of its objectives."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from qatexp.compare.collect import read_trial
from qatexp.compare.reproduce import trial_command
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE, Point, front
from qatexp.results.units import counted
from qatexp.sweep.search.objectives import Objective
from qatexp.sweep.search.study import failed_trials, trials_in

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Best:
    """A trial on the front."""

    number: int
    values: tuple[float, ...]
    """By objective."""


def best_trials(trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> list[Best]:
    """Find the trials that keep all constraints and that no other such trial dominates.

    Sizes within 1 % and latencies within 5 % count as equal where they are to be small, as in the
    comparison; all other figures are compared as they are.
    """
    kept = [trial for trial in trials if all(off <= 0.0 for off in trial.constraints.values())]
    points = [_point(trial.values, objectives) for trial in kept]
    gain = _gain(objectives)
    tolerances = tuple(_tolerance(o) for i, o in enumerate(objectives) if i != gain)
    chosen = front(points, tolerances=tolerances)
    return [Best(kept[index].number, tuple(kept[index].values)) for index in chosen]


def print_front(
    study: Study, objectives: Sequence[Objective], folder: Path, console: Console
) -> None:
    """Print the front with the command of each trial, and how the search went."""
    from rich.table import Table

    found = best_trials(trials_in(study, TrialState.COMPLETE), objectives)
    title = ", ".join(objective.text for objective in objectives)
    console.print()
    console.print(f"Pareto front by {title}", style="bold", markup=False, highlight=False)
    if found:
        table = Table(box=None, pad_edge=False)
        for heading in ("trial", *(objective.figure for objective in objectives)):
            table.add_column(heading, justify="right")
        for best in found:
            table.add_row(str(best.number), *map(_text, best.values))
        console.print(table)
        for best in found:
            line = f"trial {best.number}: {_command(study, best.number, folder)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_summary(study, found), markup=False, highlight=False)


def _summary(study: Study, found: Sequence[Best]) -> str:
    complete = trials_in(study, TrialState.COMPLETE)
    failed = failed_trials(study)
    off = [trial for trial in complete if any(v > 0.0 for v in trial.constraints.values())]
    parts = [f"{len(found)} of {counted(len(complete), 'finished trial')} on the front"]
    parts += [f"{len(off)} outside the constraints"] if off else []
    pruned = trials_in(study, TrialState.PRUNED)
    parts += [f"{len(pruned)} pruned"] if pruned else []
    parts += [f"{len(failed)} failed"] if failed else []
    return ", ".join(parts)


def _point(values: Sequence[float], objectives: Sequence[Objective]) -> Point:
    """The first figure to be large is the gain; the others are costs."""
    gain = _gain(objectives)
    costs = tuple(
        value if objective.direction == "min" else -value
        for index, (value, objective) in enumerate(zip(values, objectives, strict=True))
        if index != gain
    )
    return Point(0.0 if gain is None else values[gain], costs)


def _gain(objectives: Sequence[Objective]) -> int | None:
    return next((i for i, o in enumerate(objectives) if o.direction == "max"), None)


def _tolerance(objective: Objective) -> float:
    name = objective.figure.rpartition("/")[2]
    if objective.direction == "max":
        return 0.0
    if name.startswith("latency_ms"):
        return LATENCY_TOLERANCE
    return SIZE_TOLERANCE if name.startswith("size_") else 0.0


def _text(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.6g}"


def _command(study: Study, number: int, folder: Path) -> str:
    """The command of a trial; of one in the folder of another process, its values."""
    own = trial_command(read_trial(folder / str(number)))
    if own is not None:
        return own.line
    trial = trials_in(study)[number]
    values = [f"{key}={value}" for key, value in trial.params.items()]
    return f"{shlex.join(values)} (in {trial.user_attrs.get('qatexp.folder', 'another folder')})"
