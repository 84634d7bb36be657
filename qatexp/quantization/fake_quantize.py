"""Fake quantization: rounding to the integer grid in float, with a gradient to train through.

The classes plug into torchao's `prepare` and `convert` as `observer_or_fake_quant_ctr`. Training
and conversion read the same stored scale, so that the weights that were trained are the weights
that are deployed (torchao's fused observer trains with one scale and converts with another).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

MIN_SCALE = 1e-8
"""Smallest scale, so that a constant-zero tensor does not divide by zero."""


class _FakeQuantizeActivation(torch.autograd.Function):
    """Per-tensor rounding with the straight-through gradient and LSQ's gradient of the scale.

    Learned step size: Esser et al. 2020, https://arxiv.org/abs/1902.08153, equations 1 to 4.
    Clamping before scaling keeps every operation vectorized; only the clamped range needs saving.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, grad_factor: float
    ) -> Tensor:
        """Round `x` to multiples of `scale` between `low * scale` and `high * scale`."""
        step = scale.item()
        ctx.bounds = (low * step, high * step)
        ctx.step, ctx.grad_factor = step, grad_factor
        rounded = x.clamp(*ctx.bounds).mul_(1.0 / step).round_().mul_(step)
        ctx.save_for_backward(x, *([rounded] if scale.requires_grad else []))
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Pass the gradient where `x` was inside the range; collect the scale's gradient."""
        x, *rounded = ctx.saved_tensors
        # Written into the input's memory format: another one makes the backward pass of a
        # preceding batch norm ten times slower.
        grad_x = torch.empty_like(x)
        torch.ops.aten.hardtanh_backward.grad_input(grad, x, *ctx.bounds, grad_input=grad_x)
        if not rounded:
            return grad_x, None, None, None, None
        # Inside: round(v) - v, outside: the bound; with v = x / step.
        grad_scale = ((grad * rounded[0]).sum() - (grad_x * x).sum()) / ctx.step
        return grad_x, (grad_scale * ctx.grad_factor).view(1), None, None, None


class _FakeQuantizeWeight(torch.autograd.Function):
    """Rounding of a weight with one scale per channel (or one for all), symmetric."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, scale: Tensor, quant_max: int, grad_factor: float
    ) -> Tensor:
        """Round `weight` (C, ...) to multiples of `scale`, broadcast over channels."""
        steps = scale.view(-1, *[1] * (weight.dim() - 1))
        scaled = weight * (1.0 / steps)
        codes = scaled.round().clamp_(-quant_max, quant_max)
        ctx.save_for_backward(scaled, codes)
        ctx.quant_max, ctx.grad_factor, ctx.scale_shape = quant_max, grad_factor, scale.shape
        return codes * steps

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Straight through inside the range; the scale's gradient summed per channel."""
        scaled, codes = ctx.saved_tensors
        inside = (scaled.abs() <= ctx.quant_max).to(grad.dtype)
        grad_weight = grad * inside
        if not ctx.needs_input_grad[1]:
            return grad_weight, None, None, None
        per_value = grad * codes - grad_weight * scaled
        per_channel = per_value.flatten(1).sum(1)
        if ctx.scale_shape[0] == 1:
            per_channel = per_channel.sum().view(1)
        return grad_weight, per_channel * ctx.grad_factor, None, None


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
        quantized = _FakeQuantizeActivation.apply(
            x,
            self.scale,
            self.quant_min - zero_point,
            self.quant_max - zero_point,
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

    def update_(self, x: Tensor) -> None:
        """Keep the learned scale positive, and below the bound of a ReLU6 it stands for.

        In evaluation too: the last step of the optimizer may have left it anywhere.
        """
        above = self.quant_max - int(self.zero_point)
        limit = None if self.clip is None else self.clip[1] / above
        with torch.no_grad():
            self.scale.clamp_(MIN_SCALE, limit)


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
        self.scale: Tensor
        self._register_scale(channels if self.per_channel else 1)

    def _register_scale(self, count: int) -> None:
        self.register_buffer("scale", torch.ones(count))

    def forward(self, weight: Tensor) -> Tensor:
        """Fake-quantize a weight (C, ...)."""
        if not self.enabled:
            return weight
        self.update_(weight)
        grad_factor = 1.0 / math.sqrt(weight.numel() / self.scale.numel() * self.quant_max)
        quantized = _FakeQuantizeWeight.apply(weight, self.scale, self.quant_max, grad_factor)
        assert isinstance(quantized, Tensor)
        return quantized

    def update_(self, weight: Tensor) -> None:
        """Keep the scale valid for a weight that has changed."""

    def absmax_scale(self, weight: Tensor) -> Tensor:
        """Scales (C or 1) at which the largest magnitude is the largest code."""
        flat = weight.detach().flatten(1) if self.per_channel else weight.detach().view(1, -1)
        return (flat.abs().amax(1) / self.quant_max).clamp_min(MIN_SCALE)

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes (float tensor, shape of `weight`) at the present scale."""
        steps = self.scale.detach().view(-1, *[1] * (weight.dim() - 1))
        return (weight.detach() * (1.0 / steps)).round().clamp_(self.quant_min, self.quant_max)

    def set_scale_(self, scale: Tensor) -> None:
        """Set all scales; shape C or 1."""
        with torch.no_grad():
            self.scale.copy_(scale.clamp_min(MIN_SCALE))

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scales (float32) and zero points (int64 zeros) for torchao's conversion."""
        scale = self.scale.detach().clone()
        return scale, torch.zeros_like(scale, dtype=torch.int64)


class LsqWeight(WeightFakeQuantize):
    """Learned step size of a weight, one per channel or one for all."""

    learned = True

    def _register_scale(self, count: int) -> None:
        self.scale = nn.Parameter(torch.ones(count))

    def update_(self, weight: Tensor) -> None:
        """Keep the learned scales positive, whatever the optimizer's last step did."""
        with torch.no_grad():
            self.scale.clamp_(min=MIN_SCALE)


class AbsMaxWeight(WeightFakeQuantize):
    """The scale follows the largest magnitude of the weight at every call, in eval mode too."""

    def update_(self, weight: Tensor) -> None:
        """Derive the scale from the weight as it is now: training and conversion see the same."""
        self.set_scale_(self.absmax_scale(weight))
