"""The files that a sweep could deploy: fp32, ptq and qat of every trial, shared ones once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from qatexp.records import Record, Variant
from qatexp.results.comparable import data_set, latency_conditions
from qatexp.results.front import Point, front

FILES = ("fp32", "ptq", "qat")
"""Variants whose files compete; the control only says what longer training gains."""
_TIMES = ("latency_ms_p50", "latency_ms_p95", "latency_speedup")


@dataclass(frozen=True, slots=True)
class File:
    """A file that could be deployed."""

    name: str
    """Its variant: fp32, ptq or qat."""
    variant: Variant
    """Its figures; the latency is the median of all trials that have it."""
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
        middle = {key: median(getattr(v, key) for v in variants) for key in _TIMES}
        found.append(File(name, replace(variants[0], **middle), tuple(indices)))
    return found


def files_on_front(
    trials: Sequence[Record],
    indices: Sequence[int],
    *,
    costs: Callable[[Variant], tuple[float, ...]],
    tolerances: tuple[float, ...],
) -> list[File]:
    """The Pareto front of the files of some trials on one data set, the best accuracy first.

    Args:
        trials: with latencies that compare, see `with_shared_figures`, where costs are latencies.
        indices: which of them take part.
        costs: of a file, each the lower the better.
        tolerances: see `front`.

    Returns:
        The files, with indices into `trials`.
    """
    found = files([trials[index] for index in indices])
    points = [Point(file.variant.deployed_top1, costs(file.variant)) for file in found]
    chosen = [found[place] for place in front(points, tolerances=tolerances)]
    return [replace(file, trials=tuple(indices[i] for i in file.trials)) for file in chosen]


def with_shared_figures(trials: Sequence[Record]) -> list[Record]:
    """The trials with latencies that may be set against each other.

    A file that several trials have has one latency, the median. And all are taken at one pace: a
    machine is faster at one moment than at another, by more than what separates most files, and
    every trial has measured its fp32 in turns with its own files. So each latency is the share of
    that fp32's, times the median fp32 latency of all trials with the same network and conditions.
    """
    paced = [_at_pace(record, pace) for record, pace in zip(trials, _paces(trials), strict=True)]
    variants = [dict(record.variants) for record in paced]
    for file in files(paced):
        for index in file.trials:
            shared = {key: getattr(file.variant, key) for key in _TIMES}
            variants[index][file.name] = replace(variants[index][file.name], **shared)
    return [replace(r, variants=own) for r, own in zip(trials, variants, strict=True)]


def _paces(trials: Sequence[Record]) -> list[float]:
    """By trial, the factor that takes its fp32 latency to the median of those like it."""
    alike: dict[Any, list[float]] = {}
    for record in trials:
        if (fp32 := record.variants.get("fp32")) is not None:
            alike.setdefault(_network(record, fp32), []).append(fp32.latency_ms_p50)
    paces = []
    for record in trials:
        fp32 = record.variants.get("fp32")
        if fp32 is None or fp32.latency_ms_p50 <= 0.0:
            paces.append(1.0)
        else:
            paces.append(median(alike[_network(record, fp32)]) / fp32.latency_ms_p50)
    return paces


def _network(record: Record, fp32: Variant) -> tuple[Any, ...]:
    """What the time of an fp32 file depends on, which its weights are not part of."""
    size = record.params.get("dataset.image_size")
    return record.params.get("model"), fp32.params, size, latency_conditions(record)


def _at_pace(record: Record, pace: float) -> Record:
    variants = {
        name: replace(
            variant,
            latency_ms_p50=variant.latency_ms_p50 * pace,
            latency_ms_p95=variant.latency_ms_p95 * pace,
        )
        for name, variant in record.variants.items()
    }
    return replace(record, variants=variants)


def _identity(record: Record, name: str) -> tuple[Any, ...]:
    """What is the same for the same file: its fingerprint, and figures that are reproducible.

    Where its times do not compare, or its accuracies, it counts as several.
    """
    variant = record.variants[name]
    exported = record.fingerprints.get(f"export_{name}")
    measured = data_set(record), latency_conditions(record)
    return name, exported, variant.deployed_top1, variant.size_bytes, measured
