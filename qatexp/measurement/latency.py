"""Latency of several callables, measured in turns so that a noisy machine is noisy for all."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_CLOCK_MS = 1e-6
"""One nanosecond: the least that the clock tells from nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call in milliseconds over all rounds."""

    ms_p50: float
    ms_p95: float


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    *,
    warmup: int,
    rounds: int,
    min_round_ms: float,
) -> dict[str, Timing]:
    """Time callables in turns: one sample of each per round, in an order that alternates.

    A sample is the mean of as many calls as fill `min_round_ms`, so that the clock's resolution
    and one interruption weigh little on a call of a few microseconds.

    Args:
        calls: what to time, by name.
        warmup: calls of each before the first round.
        rounds: samples of each.
        min_round_ms: least duration of a sample.
    """
    repeats = {name: _warm_up(call, warmup, min_round_ms) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            for name in names if index % 2 == 0 else reversed(names):
                samples[name].append(_sample(calls[name], repeats[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: _timing(values) for name, values in samples.items()}


def _warm_up(call: Callable[[], object], warmup: int, min_round_ms: float) -> int:
    """Call a few times, and find how many calls make one sample."""
    for _ in range(warmup):
        call()
    once = min(_sample(call, 1) for _ in range(3))
    return max(1, math.ceil(min_round_ms / max(once, _CLOCK_MS)))


def _sample(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - started) / repeats / 1e6


def _timing(values: list[float]) -> Timing:
    p50, p95 = np.percentile(values, [50, 95])
    return Timing(float(p50), float(p95))
