"""The figures of two records side by side: equal bit for bit, or different."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatexp.records import Record
from qatexp.rerun.reasons import Reason

MISSING = "missing"
"""Stands for a figure that one of the records does not have."""
_NOT_FIGURES = ("latenc", "file")
"""How fields of a variant start that hold times or paths."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure in both records, in JSON types."""

    name: str
    """As MLflow names it: ``qat/deployed_top1``."""
    original: Any
    rerun: Any

    @property
    def is_equal(self) -> bool:
        """Whether type and value are the same, bit for bit; NaN equals NaN."""
        return json.dumps(self.original, sort_keys=True) == json.dumps(self.rerun, sort_keys=True)

    @property
    def difference(self) -> float | None:
        """Rerun minus original; None where they are not numbers."""
        pair = (self.original, self.rerun)
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in pair):
            return None
        return float(self.rerun - self.original)


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """Median times of one variant's file; they depend on the moment and are not judged."""

    variant: str
    original_ms: float
    rerun_ms: float

    @property
    def ratio(self) -> float | None:
        """Rerun over original; None where the original has no time."""
        return self.rerun_ms / self.original_ms if self.original_ms > 0 else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rerun has shown."""

    figures: tuple[Figure, ...]
    latencies: tuple[LatencyRatio, ...]
    reasons: tuple[Reason, ...]
    """What else differs between the two runs."""

    @property
    def different(self) -> tuple[Figure, ...]:
        """The figures that are not the same."""
        return tuple(figure for figure in self.figures if not figure.is_equal)

    @property
    def is_equal(self) -> bool:
        """Whether every figure is the same, bit for bit."""
        return not self.different

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "verdict": "equal" if self.is_equal else "different",
            "equal": len(self.figures) - len(self.different),
            "different": len(self.different),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "latency": {
                item.variant: {
                    "original_ms": item.original_ms,
                    "rerun_ms": item.rerun_ms,
                    "ratio": item.ratio,
                }
                for item in self.latencies
            },
            "figures": [
                {
                    "name": figure.name,
                    "original": figure.original,
                    "rerun": figure.rerun,
                    "verdict": "equal" if figure.is_equal else "different",
                }
                for figure in self.figures
            ],
        }


def compare_figures(original: Record, rerun: Record) -> tuple[Figure, ...]:
    """Set every figure of two records side by side, in the order of the original."""
    before, after = dict(_figures(original)), dict(_figures(rerun))
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        Figure(name, before.get(name, MISSING), after.get(name, MISSING)) for name in names
    )


def compare_latencies(original: Record, rerun: Record) -> tuple[LatencyRatio, ...]:
    """Set the headline latencies of all variants that both records have side by side."""
    return tuple(
        LatencyRatio(name, variant.latency_ms_p50, rerun.variants[name].latency_ms_p50)
        for name, variant in original.variants.items()
        if name in rerun.variants
    )


def _figures(record: Record) -> Iterator[tuple[str, Any]]:
    content = json.loads(json.dumps(record.to_dict()))
    for name, variant in content["variants"].items():
        kept = {key: value for key, value in variant.items() if not key.startswith(_NOT_FIGURES)}
        yield from _leaves(name, kept)
    for name in ("parity", "target", "quantization", "kept_epochs", "data"):
        yield from _leaves(name, content[name])
    if (checkpoint := record.fingerprints.get("checkpoint")) is not None:
        yield "checkpoint", checkpoint


def _leaves(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Values of a tree; an empty branch has none, and lists of values are one."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(f"{name}/{key}", value)
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for index, item in enumerate(node):
            yield from _leaves(f"{name}/{index}", item)
    else:
        yield name, node
