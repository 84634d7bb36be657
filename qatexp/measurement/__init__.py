"""Measure callables: how fast they are, in turns, and how far two of them agree."""

from __future__ import annotations

from qatexp.measurement.agreement import agreement, matched
from qatexp.measurement.latency import Timing, time_in_turns
from qatexp.measurement.parity import compare_logits

__all__ = ["Timing", "agreement", "compare_logits", "matched", "time_in_turns"]
