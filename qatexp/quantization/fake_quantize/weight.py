"""The base of all fake quantizers of weights: symmetric, per output channel or per tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from qatexp.quantization.fake_quantize.rounding import (
    MIN_SCALE,
    RoundWeight,
    codes_of,
    per_channel,
    rows,
)

if TYPE_CHECKING:
    from qatexp.quantization.folding import Folding


class WeightFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]
    """Symmetric fake quantization of a weight, per output channel (axis 0) or per tensor.

    Args:
        dtype: int8.
        quant_min, quant_max: a narrow range, `quant_min == -quant_max`.
        qscheme: `torch.per_channel_symmetric` or `torch.per_tensor_symmetric`.
        channels: output channels; the number of scales when quantizing per channel.
    """

    learned = False
    is_dynamic = False
    ch_axis = 0
    """Read by torchao's conversion; its `prepare` hands it over only to classes with
    "PerChannel" in their name, and silently drops it for all others."""

    def __init__(
        self,
        *,
        dtype: torch.dtype,
        quant_min: int,
        quant_max: int,
        qscheme: torch.qscheme,
        channels: int,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        assert quant_min == -quant_max, "folding a batch norm needs a narrow range"
        assert not is_dynamic, "weights are quantized once"
        self.dtype, self.qscheme = dtype, qscheme
        self.quant_min, self.quant_max = quant_min, quant_max
        self.per_channel = qscheme == torch.per_channel_symmetric
        self.enabled = True
        self.folding: Folding | None = None
        self.scale: Tensor
        self._register_scale(channels if self.per_channel else 1)

    def _register_scale(self, count: int) -> None:
        self.register_buffer("scale", torch.ones(count))

    def forward(self, weight: Tensor) -> Tensor:
        """Fake-quantize a weight (C, ...); in evaluation, fold what follows the layer into it."""
        if not self.enabled:
            return weight
        self.update_(weight)
        if self.folding is not None and self.folding.applies:
            return self.folding.weight(weight)
        return self._round(self.transform(weight))

    def _round(self, weight: Tensor) -> Tensor:
        quantized = RoundWeight.apply(weight, self.scale, self.quant_max)
        assert isinstance(quantized, Tensor)
        return quantized

    def transform(self, weight: Tensor) -> Tensor:
        """What of a weight is rounded: the weight itself, unless a recipe shapes it first."""
        return weight

    def update_(self, weight: Tensor) -> None:
        """Keep the scale valid for a weight, or a learned scale, that has changed."""

    def absmax_scale(self, weight: Tensor) -> Tensor:
        """Scales (C or 1) at which the largest magnitude is the largest code."""
        values = self.transform(weight.detach())
        return (rows(values, self.scale).abs().amax(1) / self.quant_max).clamp_min(MIN_SCALE)

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes (float tensor, shape of `weight`) at the present scale."""
        values = self.transform(weight.detach())
        return codes_of(values, per_channel(self.scale, weight), self.quant_max)

    def set_scale_(self, scale: Tensor) -> None:
        """Set all scales; shape C or 1."""
        with torch.no_grad():
            self.scale.copy_(scale.clamp_min(MIN_SCALE))

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scales (float32) and zero points (int64 zeros) for torchao's conversion."""
        scale = self.scale.detach().clone()
        return scale, torch.zeros_like(scale, dtype=torch.int64)
