"""The names that a `--where` expression may use, and their values by trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.pareto import pareto
from qatexp.compare.where.evaluate import Value
from qatexp.compare.where.tokens import WhereError
from qatexp.config.suggestions import LOOSE, nearest
from qatexp.records import Record
from qatexp.results.trials import BITS, deployed_name, knobs


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of settings and figures: ``schedule.qat.lr_scale``, ``qat/deployed_top1``.

    A figure without a variant is that of the file which a trial would deploy. Beside them there
    are trial, sweep, name, status and pareto. The last parts of a name do, too: ``lr_scale``.
    Where several names end so, the one that a table shows under this heading is meant.
    """

    keys: tuple[str, ...]
    short: Mapping[str, str]
    """From the last parts of a key to the whole."""
    ambiguous: Mapping[str, tuple[str, ...]]
    """Last parts that several keys share."""
    shown: tuple[str, ...]
    """Names of the settings that vary, as a table heads them: the first to propose."""

    def resolve(self, name: str) -> str:
        """Find the full key.

        Raises:
            WhereError: there is none, or several; it lists near names.
        """
        if name in self.keys:
            return name
        if name in self.short:
            return self.short[name]
        if name in self.ambiguous:
            raise WhereError(f"{name} may be {_either(self.ambiguous[name])}: give more of it")
        near = nearest(name, [*self.shown, *self.short, *self.keys], likeness=LOOSE)
        proposed = list(dict.fromkeys([*self.shown, "qat/deployed_top1", "size_bytes"]))
        hint = f"did you mean {_either(near)}?" if near else f"try {_either(proposed)}"
        raise WhereError(f"unknown name {name} (text goes in quotes: '{name}'); {hint}")


def vocabulary(sweep: Sweep) -> Vocabulary:
    """Collect the names that any trial of a sweep knows."""
    keys = dict.fromkeys(key for values in trial_values(sweep) for key in values)
    return vocabulary_of(tuple(keys), {knob.name: knob.key for knob in knobs(sweep.records)})


def vocabulary_of(keys: tuple[str, ...], headings: Mapping[str, str]) -> Vocabulary:
    """The names that full keys allow.

    Args:
        keys: every one that an expression may use.
        headings: names that a table has for some of them; they go before other short names.
    """
    endings: dict[str, list[str]] = {}
    for key in keys:
        for ending in _endings(key):
            endings.setdefault(ending, []).append(key)
    headings = {name: key for name, key in headings.items() if key in keys}
    short, ambiguous = {}, {}
    for ending, owners in endings.items():
        if ending in keys:
            continue
        if (owner := headings.get(ending) or _only(owners)) is not None:
            short[ending] = owner
        else:
            ambiguous[ending] = tuple(owners)
    return Vocabulary(keys, short, ambiguous, tuple(headings))


def trial_values(sweep: Sweep) -> list[dict[str, Value]]:
    """Values of every trial, of whatever status, by full key."""
    on_front = pareto(sweep.records)
    position = {id(record): index for index, record in enumerate(sweep.records)}
    return [
        _values(trial, is_best=position.get(id(trial.record)) in on_front) for trial in sweep.trials
    ]


def _values(trial: Trial, *, is_best: bool) -> dict[str, Value]:
    number = int(trial.name) if trial.name.isascii() and trial.name.isdecimal() else trial.name
    values: dict[str, Value] = {
        "trial": number,
        "sweep": trial.sweep,
        "status": trial.status,
        "pareto": is_best,
    }
    if trial.record is None:
        return values
    return {**values, "name": trial.record.name, **figures_of(trial.record), **trial.record.params}


def figures_of(record: Record) -> dict[str, Value]:
    """Figures by name; those without a variant are of the file which the trial would deploy."""
    figures = record.metrics()
    prefix = deployed_name(record)
    if prefix is None:
        return dict(figures)
    own = {
        key.removeprefix(f"{prefix}/"): value
        for key, value in figures.items()
        if key.startswith(f"{prefix}/") and key.count("/") == 1
    }
    return {**own, **figures}


def _endings(key: str) -> Iterable[str]:
    """``b.c`` and ``c`` for ``a.b.c``."""
    return (key[at + 1 :] for at, character in enumerate(key) if character in "./")


def _only(owners: list[str]) -> str | None:
    return BITS if BITS in owners else owners[0] if len(owners) == 1 else None


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)
