"""Declarative limits on configuration fields, kept in the metadata of the field they limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from qatexp.errors import ConfigError


class Constraint(Protocol):
    """What a field's value has to satisfy."""

    def violation(self, value: Any) -> str | None:
        """Say what is allowed when `value` is not, None when it is fine."""


class Range:
    """Finite numbers from `low` to `high`, both included unless `above` excludes the lower end."""

    def __init__(
        self, low: float | None = None, high: float | None = None, *, above: bool = False
    ) -> None:
        self.low, self.high, self.above = low, high, above

    def violation(self, value: Any) -> str | None:
        """Check one number; None means "not set" and is the type's business, not the range's."""
        if value is None:
            return None
        if isinstance(value, float) and not math.isfinite(value):
            # NaN compares false with everything and would slip through both tests.
            return f"allowed: {self.values()}, and finite"
        too_low = self.low is not None and (value <= self.low if self.above else value < self.low)
        too_high = self.high is not None and value > self.high
        return f"allowed: {self.values()}" if too_low or too_high else None

    def values(self) -> str:
        """Name the numbers: ``2 to 8``."""
        if self.low is not None and self.high is not None:
            return f"{'above ' if self.above else ''}{self.low} to {self.high}"
        if self.low is not None:
            return f"{'above' if self.above else 'at least'} {self.low}"
        return f"at most {self.high}"


class Each:
    """Every member of a list satisfies one constraint; the list is not empty unless it may be."""

    def __init__(self, member: Constraint, *, empty: bool = False) -> None:
        self.member, self.empty = member, empty

    def violation(self, value: Any) -> str | None:
        """Check the members in order and report the first that fails."""
        if not value and not self.empty:
            return "allowed: a list with at least one member"
        return next((text for item in value if (text := self.member.violation(item))), None)


def limited(*constraints: Constraint) -> dict[str, Any]:
    """Build the field metadata that `check_limits` reads: ``field(metadata=limited(...))``."""
    return {"constraints": constraints}


def check_limits(config: Any, prefix: str = "") -> None:
    """Check every limited field of a dataclass tree.

    Raises:
        ConfigError: naming the full key, the value it got and what is allowed.
    """
    for key, value, constraint in _limited_fields(config, prefix):
        if (allowed := constraint.violation(value)) is not None:
            raise ConfigError(f"{key}={value} is not possible; {allowed}.")


def _limited_fields(config: Any, prefix: str) -> Iterator[tuple[str, Any, Constraint]]:
    for item in fields(config):
        value = getattr(config, item.name)
        key = f"{prefix}{item.name}"
        for constraint in item.metadata.get("constraints", ()):
            yield key, value, constraint
        if is_dataclass(value):
            yield from _limited_fields(value, f"{key}.")
        elif isinstance(value, list):
            for index, member in enumerate(value):
                if is_dataclass(member):
                    yield from _limited_fields(member, f"{key}[{index}].")
