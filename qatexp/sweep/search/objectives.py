"""Objectives of a search: figures of ``record.json``, to be as large or as small as possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qatexp.config.criteria import DIRECTIONS, FIGURES, numbers_of
from qatexp.config.suggestions import LOOSE, nearest
from qatexp.errors import ConfigError
from qatexp.records import Parity, Record

KEY = "hydra.sweeper.objectives"
_VARIANTS = ("qat", "ptq", "fp32", "control")


@dataclass(frozen=True, slots=True)
class Objective:
    """One figure, and which way it is better."""

    direction: str
    """max or min."""
    figure: str
    """``deployed_top1`` of the file that a trial would deploy, or ``ptq/deployed_top1``."""

    @property
    def text(self) -> str:
        """As on the command line."""
        return f"{self.direction}:{self.figure}"

    def value(self, record: Record) -> float | None:
        """The figure of a record; None where it has none, or none that is finite."""
        from qatexp.compare.where import figures_of

        value = figures_of(record).get(self.figure)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


def figure_names() -> list[str]:
    """Every figure that an objective or a constraint may name."""
    of_variants = [f"{variant}/{name}" for variant in _VARIANTS for name in FIGURES]
    return [*FIGURES, *of_variants, *(f"parity/{name}" for name in numbers_of(Parity))]


def read_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Read ``[max:deployed_top1, min:size_bytes]``.

    Raises:
        ConfigError: there is none, or one of them names no direction or no figure.
    """
    if not texts:
        raise ConfigError(
            f"{KEY}=[] is not possible; allowed: at least one, such as [max:deployed_top1]."
        )
    found = tuple(_objective(str(text)) for text in texts)
    for objective in found:
        if sum(other.figure == objective.figure for other in found) > 1:
            raise ConfigError(
                f"{KEY}: {objective.figure} is there more than once; name every figure once."
            )
    return found


def _objective(text: str) -> Objective:
    direction, _, figure = (part.strip() for part in text.partition(":"))
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"{KEY}: {text!r} names no direction; allowed: max:FIGURE or min:FIGURE, such as "
            "max:deployed_top1."
        )
    names = figure_names()
    if figure not in names:
        near = nearest(figure, names, likeness=LOOSE)
        hint = f"did you mean {' or '.join(near)}?" if near else "see docs/search.md for all."
        raise ConfigError(
            f"{KEY}: {text!r} names no figure of a record; allowed: deployed_top1, size_bytes, "
            f"latency_ms_p50, qat/loss, parity/top1_agreement and others; {hint}"
        )
    return Objective(direction, figure)
