"""Ranges that follow what they see: the classic recipe of fbgemm-style QAT.

Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qatexp.quantization.fake_quantize.activation import ActivationFakeQuantize
from qatexp.quantization.fake_quantize.weight import WeightFakeQuantize


class AbsMaxWeight(WeightFakeQuantize):
    """The scale follows the largest magnitude of the weight at every call, in eval mode too."""

    def update_(self, weight: Tensor) -> None:
        """Derive the scale from the weight as it is now: training and conversion see the same."""
        self.set_scale_(self.absmax_scale(weight))


class MinMaxEmaActivation(ActivationFakeQuantize):
    """Moving average of each training batch's minimum and maximum, until `freeze_()`."""

    MOMENTUM = 0.01
    """Weight of a new batch, as in torch's moving-average observers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observing = True
        self.register_buffer("range", torch.zeros(2))

    def observe_(self, x: Tensor) -> None:
        """Move the range towards that of a training batch, unless the batch is not finite.

        Then training has diverged, and the loss, which is looked at, says so.
        """
        if not (self.training and self.observing):
            return
        low, high = torch.aminmax(x.detach())
        moved = self.range.lerp(torch.stack([low, high]).to(self.range.dtype), self.MOMENTUM)
        ends = moved.tolist()
        if all(map(math.isfinite, ends)):
            self.range.copy_(moved)
            super().set_range_(*ends)

    def set_range_(self, low: float, high: float) -> None:
        """Start the moving average from a calibrated range."""
        self.range.copy_(torch.tensor([low, high]))
        super().set_range_(low, high)

    def freeze_(self, frozen: bool = True) -> None:
        """Keep the range as it is from now on, or let it move again."""
        self.observing = not frozen
