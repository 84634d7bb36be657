"""Constraints of a search: expressions as for ``compare --where``, and how far a trial is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from qatexp.compare.where import Value, WhereError, figures_of, holds, parse, vocabulary_of
from qatexp.compare.where.evaluate import Comparison, Constant, Joined, Name, Node, Not, names_in
from qatexp.errors import ConfigError
from qatexp.records import Record
from qatexp.sweep.search.objectives import figure_names

KEY = "hydra.sweeper.constraints"
_LEAST = 1e-9
"""Of a violation: at the limit of a strict comparison nothing is missing, and it does not hold."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The constraints of a search."""

    nodes: Mapping[str, Node]
    """By the text of each."""

    def violations(self, record: Record) -> dict[str, float]:
        """How far a finished trial is from each constraint; 0 where it holds."""
        values = {**figures_of(record), **record.params}
        return {text: violation(node, values) for text, node in self.nodes.items()}

    def broken_by(self, record: Record) -> list[str]:
        """The constraints that do not hold for a finished trial."""
        return [text for text, amount in self.violations(record).items() if amount > 0.0]

    def names(self) -> set[str]:
        """Full names of the settings and figures that the constraints are about."""
        return {name.key for node in self.nodes.values() for name in names_in(node)}


def read_limits(texts: Sequence[str], settings: Sequence[str]) -> Limits:
    """Read constraints.

    Args:
        texts: for instance ``size_bytes <= 300000``.
        settings: full names of the settings that they may use, beside figures of records.

    Raises:
        ConfigError: one cannot be read, or names something that no record has.
    """
    names = vocabulary_of((*settings, *figure_names()), {})
    nodes = {}
    for text in map(str, texts):
        try:
            nodes[text] = parse(text, names.resolve)
        except WhereError as problem:
            raise ConfigError(f"{KEY}: in {text!r}, {problem}") from problem
    return Limits(nodes)


def violation(node: Node, values: Mapping[str, Value]) -> float:
    """How far values are from what an expression asks for; 0 exactly where it holds.

    A number beyond a limit counts as its distance from it, relative to the larger of the two, so
    that bytes and percent weigh alike; anything else that does not hold counts as 1. Parts joined
    by ``and`` add up, of those joined by ``or`` the least counts.
    """
    if holds(node, values):
        return 0.0
    if isinstance(node, Joined):
        parts = [violation(part, values) for part in node.parts]
        return sum(parts) if node.word == "and" else min(parts)
    return 1.0 if isinstance(node, Not) else max(_excess(node, values), _LEAST)


def _excess(node: Comparison, values: Mapping[str, Value]) -> float:
    found = [values.get(o.key) if isinstance(o, Name) else o.value for o in node.operands]
    if not node.operators:
        return 1.0
    triples = zip(node.operators, pairwise(found), strict=True)
    return sum(_beyond(sign, left, right) for sign, (left, right) in triples)


def _beyond(sign: str, left: Value, right: Value) -> float:
    """How far one comparison is off, relative to the larger side."""
    if not (_is_number(left) and _is_number(right)) or sign[0] not in "<>":
        part = Comparison((Constant(left), Constant(right)), (sign,))
        return 0.0 if holds(part, {}) else 1.0
    distance = left - right if sign[0] == "<" else right - left
    return float(max(distance, 0.0) / max(abs(right), abs(left), _LEAST))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
