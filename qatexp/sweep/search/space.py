"""The search space, from overrides in Hydra's own grammar: ``choice``, ``range``, ``interval``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)

from qatexp.errors import ConfigError

Value = str | int | float | bool | None


class Suggests(Protocol):
    """The part of Optuna's Trial that chooses values."""

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Any:
        """One of several values."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float:
        """A number."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Values without an order, each with its text in Hydra's grammar."""

    key: str
    texts: Mapping[Value, str]

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All that there are."""
        return tuple(self.texts)

    def ends(self) -> list[Value]:
        """Values to check before the first trial."""
        return list(self.texts)

    def suggest(self, trial: Suggests) -> Value:
        """Have a sampler choose."""
        value: Value = trial.suggest_categorical(self.key, self.ends())
        return value

    def override(self, value: Value) -> str:
        """A value as on a command line."""
        return f"{self.key}={self.texts[value]}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers from `low` to `high`, both included; every one of them, or in steps."""

    key: str
    low: float
    high: float
    step: float | None
    log: bool
    listed: tuple[float, ...] | None
    """The numbers, where there are steps: exact, as Optuna's sums of steps are not."""

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All that there are; None where they cannot be listed."""
        return self.listed

    def ends(self) -> list[Value]:
        """Values to check before the first trial."""
        return [self.low, self.high] if self.listed is None else [self.listed[0], self.listed[-1]]

    def suggest(self, trial: Suggests) -> Value:
        """Have a sampler choose."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, self.low, self.high, step=step, log=self.log)
        found = trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)
        if self.listed is None:
            return found
        return min(self.listed, key=lambda number: abs(number - found))

    def override(self, value: Value) -> str:
        """A value as on a command line."""
        return f"{self.key}={value}"


Dimension = Choice | Numbers


def read_space(overrides: Sequence[Override]) -> list[Dimension]:
    """The dimensions that overrides with several values span.

    Args:
        overrides: of a sweep; those with one value are passed over.

    Raises:
        ConfigError: there is none, one of them is empty, or of a kind that cannot be searched.
    """
    found = [_dimension(item) for item in overrides if item.is_sweep_override()]
    if not found:
        raise ConfigError(
            "hydra/sweeper=optuna searches, and no key has several values; give at least one, "
            "such as qconfig.bits=choice(2,4,8) or "
            "schedule.qat.lr_scale=tag(log,interval(0.02,0.5))."
        )
    keys = [dimension.key for dimension in found]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is searched twice; give all its values in one override.")
    return found


def size(space: Sequence[Dimension]) -> float:
    """How many points a space has; infinite where one of its dimensions is."""
    counts = [math.inf if d.values is None else len(d.values) for d in space]
    return math.prod(counts)


def overrides_of(space: Sequence[Dimension], values: Mapping[str, Value]) -> list[str]:
    """A point as overrides."""
    return [dimension.override(values[dimension.key]) for dimension in space]


def _dimension(override: Override) -> Dimension:
    sweep, written = override.value(), str(override.input_line)
    key = override.get_key_element()
    if isinstance(sweep, ChoiceSweep):
        return _choice(key, sweep, written)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep, written)
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep, written)
    raise ConfigError(f"{written} cannot be searched; allowed: choice, range and interval.")


def _choice(key: str, sweep: ChoiceSweep, written: str) -> Choice:
    if sweep.tags:
        raise ConfigError(f"{written}: a choice takes no tags; leave tag({_tags(sweep)}) out.")
    texts: dict[Value, str] = {}
    for element in sweep.list:
        text = Transformer.str(element)
        if text in texts.values():
            continue
        plain = element.text if isinstance(element, QuotedString) else element
        value: Value = text if isinstance(plain, list | dict) else plain
        # 1, 1.0 and true are one key of a mapping, and one value for Optuna.
        texts[text if value in texts else value] = text
    return Choice(key, texts)


def _range(key: str, sweep: RangeSweep, written: str) -> Numbers:
    numbers = sorted(sweep.range())
    if not numbers:
        raise ConfigError(f"{written} holds no number; as in Hydra, the end is not included.")
    log = _log(sweep, written, numbers[0])
    step = abs(sweep.step)
    if log and (step != 1 or not isinstance(numbers[0], int)):
        raise ConfigError(
            f"{written}: tag(log) goes with whole numbers in steps of 1, or with an interval."
        )
    high = numbers[-1]
    if isinstance(high, float):
        # A sum of steps is not exactly the number that Optuna expects to find at the end.
        high = float(Decimal(str(numbers[0])) + (len(numbers) - 1) * Decimal(str(step)))
    return Numbers(key, numbers[0], high, step, log, tuple(numbers))


def _interval(key: str, sweep: IntervalSweep, written: str) -> Numbers:
    low, high = sweep.start, sweep.end
    if low is None or high is None or not low < high or not math.isfinite(high - low):
        raise ConfigError(f"{written} is no interval; allowed: a smaller and a larger number.")
    log = _log(sweep, written, low)
    listed = None
    if isinstance(low, int) and isinstance(high, int):
        listed = tuple(range(low, high + 1))
    return Numbers(key, low, high, None, log, listed)


def _log(sweep: RangeSweep | IntervalSweep, written: str, low: float) -> bool:
    if sweep.tags - {"log"}:
        raise ConfigError(f"{written}: tag({_tags(sweep)}) is not known; allowed: log.")
    if "log" in sweep.tags and low <= 0:
        raise ConfigError(f"{written}: tag(log) needs numbers above 0, and {low} is not.")
    return "log" in sweep.tags


def _tags(sweep: ChoiceSweep | RangeSweep | IntervalSweep) -> str:
    return ",".join(sorted(sweep.tags))
