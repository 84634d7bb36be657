"""Measure callables: how fast they are, in turns, and how far two of them agree."""

from __future__ import annotations

from qatexp.measurement.latency import Timing, time_in_turns
from qatexp.measurement.parity import compare_logits

__all__ = ["Timing", "compare_logits", "time_in_turns"]
