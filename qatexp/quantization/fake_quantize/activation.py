"""The base of all fake quantizers of activations: a per-tensor scale and zero point."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from qatexp.quantization.fake_quantize.rounding import MIN_SCALE, RoundActivation


class ActivationFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]
    """Per-tensor fake quantization of an activation with a stored scale and zero point.

    While `enabled` is False it passes values through, but still clips them to `clip` if the
    quantizer stands for a ReLU or ReLU6 that was removed from the graph.

    Args:
        dtype: integer type of the codes, uint8 or int8.
        quant_min, quant_max: smallest and largest code.
        qscheme: torch's name of the scheme, read by torchao's conversion.
        zero_point: the code of zero; None when calibration finds it.
    """

    learned = False

    def __init__(
        self,
        *,
        dtype: torch.dtype,
        quant_min: int,
        quant_max: int,
        qscheme: torch.qscheme,
        zero_point: int | None,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        self.dtype, self.qscheme, self.is_dynamic = dtype, qscheme, is_dynamic
        self.quant_min, self.quant_max = quant_min, quant_max
        self.fixed_zero_point = zero_point
        self.enabled = True
        self.clip: tuple[float, float] | None = None
        self.register_buffer("zero_point", torch.tensor([zero_point or 0], dtype=torch.int64))
        self.scale: Tensor
        self._register_range()

    def _register_range(self) -> None:
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantize a float tensor of any shape."""
        if not self.enabled:
            return x if self.clip is None else x.clamp(*self.clip)
        x = x.float()  # bfloat16 has fewer mantissa bits than an 8-bit code needs
        self.observe_(x)
        self.settle_()
        return self._round(x)

    def _round(self, x: Tensor) -> Tensor:
        quantized = RoundActivation.apply(x, self.scale, self.codes())
        assert isinstance(quantized, Tensor)
        return quantized

    def observe_(self, x: Tensor) -> None:
        """Follow the range of training batches."""

    def settle_(self) -> None:
        """Make scale and zero point valid after a step of the optimizer.

        Also in evaluation and before folding: the last step may have left learned values anywhere.
        """

    def codes(self) -> tuple[Any, Any]:
        """Lowest and highest code relative to that of zero (tensors only on a GPU)."""
        zero: Any = self.fixed_zero_point
        if zero is None:
            zero = int(self.zero_point) if self.zero_point.is_cpu else self.zero_point
        return self.quant_min - zero, self.quant_max - zero

    def set_range_(self, low: float, high: float) -> None:
        """Set scale and zero point so that the grid spans `low`..`high` and holds zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        if self.clip is not None:
            high = min(high, self.clip[1])
        levels = self.quant_max - self.quant_min
        if self.fixed_zero_point is None:
            step = max((high - low) / levels, MIN_SCALE)
            zero_point = round(self.quant_min - low / step)
            self.zero_point.fill_(min(max(zero_point, self.quant_min), self.quant_max))
        else:
            above = self.quant_max - self.fixed_zero_point
            below = self.fixed_zero_point - self.quant_min
            step = max(high / above, -low / below if below else 0.0, MIN_SCALE)
        with torch.no_grad():
            self.scale.fill_(step)

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale (float32, shape 1) and zero point (int64, shape 1) for torchao's conversion."""
        return self.scale.detach().clone(), self.zero_point.clone()
