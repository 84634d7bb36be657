"""The files that a sweep could deploy: fp32, ptq and qat of every trial, shared ones once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from qatexp.records import Record, Variant
from qatexp.results.comparable import data_set, latency_conditions

FILES = ("fp32", "ptq", "qat")
"""Variants whose files compete; the control only says what longer training gains."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that could be deployed."""

    name: str
    """Its variant: fp32, ptq or qat."""
    variant: Variant
    """Its figures; the latency is the median of all trials that have measured it alike."""
    trials: tuple[int, ...]
    """Indices of the trials that have it."""


def files(trials: Sequence[Record]) -> list[File]:
    """List the files of the trials; one that several trials share, from the cache, comes once."""
    owners: dict[Any, list[int]] = {}
    for index, record in enumerate(trials):
        for name in FILES:
            if name in record.variants:
                owners.setdefault(_identity(record, name), []).append(index)
    found = []
    for (name, *_), indices in owners.items():
        variants = [trials[index].variants[name] for index in indices]
        latency = median(variant.latency_ms_p50 for variant in variants)
        found.append(File(name, replace(variants[0], latency_ms_p50=latency), tuple(indices)))
    return found


def with_shared_figures(trials: Sequence[Record]) -> list[Record]:
    """The trials with the same latency for the same file, whichever of them has measured it."""
    variants = [dict(record.variants) for record in trials]
    for file in files(trials):
        for index in file.trials:
            variants[index][file.name] = file.variant
    return [replace(r, variants=own) for r, own in zip(trials, variants, strict=True)]


def _identity(record: Record, name: str) -> tuple[Any, ...]:
    """What is the same for the same file: its fingerprint, and figures that are reproducible.

    Where its times do not compare, or its accuracies, it counts as several.
    """
    variant = record.variants[name]
    exported = record.fingerprints.get(f"export_{name}")
    measured = data_set(record), latency_conditions(record)
    return name, exported, variant.deployed_top1, variant.size_bytes, measured
