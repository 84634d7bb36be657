"""What is quantized: the integer grid of one tensor, frozen and independent of any graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class ActivationSpec:
    """The per-tensor integer grid of an activation.

    `zero_point` is fixed where the scheme says so (non-negative tensors, symmetric schemes) and
    None where calibration finds it. `bits` is the request; a reduced range has fewer levels.
    """

    bits: int
    dtype: torch.dtype
    quant_min: int
    quant_max: int
    zero_point: int | None


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """The symmetric integer grid of a weight: -(2^(bits-1)-1) .. 2^(bits-1)-1, zero point 0.

    The range is narrow so that changing a weight's sign changes its code's sign alone: folding a
    batch norm with a negative gamma into the scale then moves no code.
    """

    bits: int
    per_channel: bool

    @property
    def quant_max(self) -> int:
        """Largest code; the smallest is its negative."""
        return int(2 ** (self.bits - 1)) - 1
