"""Which trial of a sweep is its best one, and the names under which MLflow registers it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.records import Parity, Variant

DIRECTIONS = ("max", "min")
_NUMBERS = ("int", "float", "float | None")


def numbers_of(kind: type[Variant | Parity]) -> tuple[str, ...]:
    """Names of the fields of a result that hold one number each."""
    return tuple(item.name for item in fields(kind) if item.type in _NUMBERS)


FIGURES = numbers_of(Variant)
"""Figures of a file that may decide, ``val_top1`` for instance."""
_MODEL_NAME = re.compile(r"[\w .\-]+")
_ALIAS = re.compile(r"[\w\-]+")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A figure of the file that a trial would deploy, and whether more of it is better."""

    figure: str
    is_gain: bool

    def __str__(self) -> str:
        return f"{'max' if self.is_gain else 'min'} {self.figure}"


def criteria(texts: Sequence[str]) -> tuple[Criterion, ...]:
    """Read `sweep.select`: ``max:FIGURE`` or ``min:FIGURE``, the most important first.

    Raises:
        ConfigError: there is none, or one of them is not of this form.
    """
    if not texts:
        raise ConfigError(
            "sweep.select=[] names no figure; allowed: a list such as [max:val_top1, "
            "min:size_bytes], the most important first."
        )
    return tuple(map(_criterion, texts))


def _criterion(text: str) -> Criterion:
    direction, _, figure = text.partition(":")
    if direction not in DIRECTIONS or figure not in FIGURES:
        raise ConfigError(
            f"sweep.select: {text!r} is not possible; allowed: max: or min: before one of "
            f"{', '.join(FIGURES)}."
        )
    return Criterion(figure, direction == "max")


def check_selection(config: ExperimentConfig) -> None:
    """Check `sweep.select`, and the names that MLflow's registry takes.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    criteria(config.sweep.select)
    registry = config.tracking.registry
    if registry.model is not None and not _MODEL_NAME.fullmatch(registry.model):
        raise ConfigError(
            f"tracking.registry.model={registry.model} is not possible; allowed: letters, digits, "
            "spaces and . _ -, or null for the names of model and data set."
        )
    if not _ALIAS.fullmatch(registry.alias) or _RESERVED_ALIAS.fullmatch(registry.alias):
        raise ConfigError(
            f"tracking.registry.alias={registry.alias} is not possible; allowed: letters, digits, "
            "_ and -, but not latest or v and a number, which MLflow keeps for itself."
        )
