"""Whether an expression holds for one trial. `page/where.js` follows the same rules.

Values are null, true or false, numbers, texts and lists. Values of two kinds are never equal and
have no order, so that such a comparison holds for no trial; the same goes for the order of null.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from qatexp.compare.where.tokens import WhereError

Value = Any
"""None, bool, int, float, str, or a list of these."""
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Name:
    """A setting or figure, in full."""

    key: str
    written: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that the expression states."""

    value: Value


Operand = Name | Constant


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a < b <= c``: one more operand than operators; without operators, a truth value."""

    operands: tuple[Operand, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of `part`."""

    part: Node


@dataclass(frozen=True, slots=True)
class Joined:
    """All or any of the parts."""

    word: str
    """and, or."""
    parts: Sequence[Node]


Node = Comparison | Not | Joined


def names_in(node: Node) -> Iterator[Name]:
    """The settings and figures of an expression, in the order in which they are written."""
    if isinstance(node, Not):
        yield from names_in(node.part)
    elif isinstance(node, Joined):
        for part in node.parts:
            yield from names_in(part)
    else:
        yield from (operand for operand in node.operands if isinstance(operand, Name))


def holds(node: Node, values: Mapping[str, Value]) -> bool:
    """Evaluate an expression for one trial; a key that it does not have is null.

    Every part is looked at, so that a mistake is one whatever the others say.

    Raises:
        WhereError: a name that stands alone is not a truth value.
    """
    if isinstance(node, Not):
        return not holds(node.part, values)
    if isinstance(node, Joined):
        parts = [holds(part, values) for part in node.parts]
        return all(parts) if node.word == "and" else any(parts)
    found = [values.get(o.key) if isinstance(o, Name) else o.value for o in node.operands]
    if not node.operators:
        return _truth(node.operands[0], found[0])
    triples = zip(node.operators, pairwise(found), strict=True)
    return all(_compare(sign, *pair) for sign, pair in triples)


def _truth(operand: Operand, value: Value) -> bool:
    if isinstance(value, bool) or value is None:
        return value is True
    written = operand.written if isinstance(operand, Name) else str(value)
    raise WhereError(f"{written} is neither true nor false: compare it, {written} == ...")


def _compare(sign: str, left: Value, right: Value) -> bool:
    if sign in ("in", "not in"):
        return _contains(right, left) == (sign == "in")
    if sign in ("==", "!="):
        return _equal(left, right) == (sign == "==")
    kind = _kind(left)
    is_ordered = kind == _kind(right) and kind in ("number", "text")
    return is_ordered and _ORDERS[sign](left, right)


def _contains(container: Value, item: Value) -> bool:
    if isinstance(container, list):
        return any(_equal(item, element) for element in container)
    return isinstance(container, str) and isinstance(item, str) and item in container


def _equal(left: Value, right: Value) -> bool:
    if _kind(left) != _kind(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _kind(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "other"
