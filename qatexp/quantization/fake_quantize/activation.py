"""Per-tensor fake quantizers of activations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from qatexp.quantization.fake_quantize.rounding import MIN_SCALE, RoundActivation, limit_step_


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
        self._register_scale()

    def _register_scale(self) -> None:
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantize a float tensor of any shape."""
        if not self.enabled:
            return x if self.clip is None else x.clamp(*self.clip)
        x = x.float()  # bfloat16 has fewer mantissa bits than an 8-bit code needs
        self.update_(x)
        zero_point = int(self.zero_point)
        quantized = RoundActivation.apply(
            x,
            self.scale,
            (self.quant_min - zero_point, self.quant_max - zero_point),
            1.0 / math.sqrt(x[0].numel() * (self.quant_max - zero_point or 1)),
        )
        assert isinstance(quantized, Tensor)
        return quantized

    def update_(self, x: Tensor) -> None:
        """Follow the range of training batches, or keep a learned scale valid."""

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


class LsqActivation(ActivationFakeQuantize):
    """Learned step size; the zero point stays where calibration put it."""

    learned = True

    def _register_scale(self) -> None:
        self.scale = nn.Parameter(torch.ones(1))
        self.previous_scale: Tensor
        self.register_buffer("previous_scale", torch.ones(1))

    def update_(self, _x: Tensor) -> None:
        """Limit the optimizer's last step, and stay below the bound of an absorbed ReLU6.

        In evaluation too: the last step may have left the scale anywhere.
        """
        above = self.quant_max - int(self.zero_point)
        upper = None if self.clip is None else self.clip[1] / above
        limit_step_(self.scale, self.previous_scale, upper=upper)

    def set_range_(self, low: float, high: float) -> None:
        """Set scale and zero point; the next step of training starts from here."""
        super().set_range_(low, high)
        self.previous_scale.copy_(self.scale.detach())


class MinMaxEmaActivation(ActivationFakeQuantize):
    """Moving average of each training batch's minimum and maximum, until `freeze_()`.

    The classic recipe of fbgemm-style QAT: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """

    MOMENTUM = 0.01
    """Weight of a new batch, as in torch's moving-average observers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observing = True
        self.register_buffer("range", torch.zeros(2))

    def update_(self, x: Tensor) -> None:
        """Move the range towards that of a training batch."""
        if not (self.training and self.observing):
            return
        low, high = torch.aminmax(x.detach())
        self.range.lerp_(torch.stack([low, high]).to(self.range.dtype), self.MOMENTUM)
        super().set_range_(*self.range.tolist())

    def set_range_(self, low: float, high: float) -> None:
        """Start the moving average from a calibrated range."""
        self.range.copy_(torch.tensor([low, high]))
        super().set_range_(low, high)

    def freeze_(self) -> None:
        """Keep the range as it is from now on."""
        self.observing = False
