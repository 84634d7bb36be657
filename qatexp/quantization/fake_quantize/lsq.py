"""LSQ: learned step size, and LSQ+: a learned offset beside it.

Esser et al. 2020, https://arxiv.org/abs/1902.08153; Bhalgat et al. 2020,
https://arxiv.org/abs/2004.09576.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from qatexp.quantization.fake_quantize.activation import ActivationFakeQuantize
from qatexp.quantization.fake_quantize.rounding import (
    MAX_STEP,
    MIN_SCALE,
    host_value,
    limit_step_,
    pass_and_sample,
    pass_inside,
    per_channel,
    rows,
    snap,
)
from qatexp.quantization.fake_quantize.sampling import sample
from qatexp.quantization.fake_quantize.weight import WeightFakeQuantize


class LsqActivation(ActivationFakeQuantize):
    """Learned step size; where the zero point is free, a learned offset too.

    The offset is the value of the lowest code, at most zero. LSQ+ adds it to the rounded values as
    it is; here it is rounded to the grid, which is the zero point that is deployed, so that zero
    stays exactly a code: padding with zeros adds nothing to a sum.
    """

    learned = True

    def _register_range(self) -> None:
        self.scale = nn.Parameter(torch.ones(1))
        self.previous_scale: Tensor
        self.register_buffer("previous_scale", torch.ones(1))
        self.offset: nn.Parameter | None = None
        if self.fixed_zero_point is None:
            self.offset = nn.Parameter(torch.zeros(1))
            self.previous_offset: Tensor
            self.register_buffer("previous_offset", torch.zeros(1))

    def _round(self, x: Tensor) -> Tensor:
        low, high = self.codes()
        # With a free zero point the largest code is anywhere; the paper's is the number of levels.
        largest = self.quant_max - self.quant_min if self.offset is not None else high
        factor = 1.0 / math.sqrt(x.numel() // x.shape[0] * largest)
        quantized = _RoundLsq.apply(x, self.scale, self.offset, (low, high), factor)
        assert isinstance(quantized, Tensor)
        return quantized

    def settle_(self) -> None:
        """Limit the optimizer's last step, and stay below the bound of an absorbed ReLU6."""
        levels = self.quant_max - self.quant_min
        upper = math.inf if self.clip is None else self.clip[1] / levels
        reach = MAX_STEP * host_value(self.previous_scale)
        limit_step_(self.scale, self.previous_scale, reach=reach, low=MIN_SCALE, high=upper)
        if self.offset is not None:
            span = levels * host_value(self.scale)
            reach = MAX_STEP * span
            limit_step_(self.offset, self.previous_offset, reach=reach, low=-span, high=0.0)
            zero_point = self.quant_min - self.offset.detach() / self.scale.detach()
            self.zero_point.copy_(zero_point.round_().clamp_(self.quant_min, self.quant_max))

    def set_range_(self, low: float, high: float) -> None:
        """Set scale and zero point; the next step of training starts from here."""
        super().set_range_(low, high)
        self.previous_scale.copy_(self.scale.detach())
        if self.offset is not None:
            self.previous_offset.copy_((self.quant_min - self.zero_point) * self.scale.detach())
            self.offset.data.copy_(self.previous_offset)


class LsqWeight(WeightFakeQuantize):
    """Learned step size of a weight, one per channel or one for all."""

    learned = True

    def _register_scale(self, count: int) -> None:
        self.scale = nn.Parameter(torch.ones(count))
        self.previous_scale: Tensor
        self.register_buffer("previous_scale", torch.ones(count))

    def _round(self, weight: Tensor) -> Tensor:
        factor = 1.0 / math.sqrt(weight.numel() / self.scale.numel() * self.quant_max)
        quantized = _RoundLsqWeight.apply(weight, self.scale, self.quant_max, factor)
        assert isinstance(quantized, Tensor)
        return quantized

    def update_(self, weight: Tensor) -> None:
        """Limit what the optimizer's last step did to the scales.

        The largest code is never below the mean magnitude of the weights that it stands for. Under
        a batch norm a network with large gradients once ended with 15 % of its channels at scales
        a hundred times too small: weights grew faster than a scale may, and where all of them are
        clipped, their size has no gradient any more.
        """
        magnitudes = rows(weight.detach(), self.scale).abs().mean(1)
        low: Any = magnitudes.div_(self.quant_max).clamp_min_(MIN_SCALE)
        reach: Any = self.previous_scale * MAX_STEP
        if self.scale.numel() == 1:
            low, reach = host_value(low), host_value(reach)
        limit_step_(self.scale, self.previous_scale, reach=reach, low=low)

    def set_scale_(self, scale: Tensor) -> None:
        """Set all scales; the next step of training starts from here."""
        super().set_scale_(scale)
        self.previous_scale.copy_(self.scale.detach())


class _RoundLsq(torch.autograd.Function):
    """Per-tensor rounding with LSQ's gradients (equations 1 to 4 there, 3 and 4 of LSQ+)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        _offset: Tensor | None,
        codes: tuple[Any, Any],
        factor: float,
    ) -> Tensor:
        step = host_value(scale)
        ctx.bounds = codes[0] * step, codes[1] * step
        ctx.step, ctx.codes, ctx.factor = step, codes, factor
        rounded = snap(x, step, ctx.bounds)
        ctx.save_for_backward(x, rounded)
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, rounded = ctx.saved_tensors
        part, weight = sample(x)
        grad_x, inside = pass_and_sample(ctx, grad, x, part)
        grad, factor = grad[part], ctx.factor * weight
        # With v = x / step, inside: round(v) - v, outside: the code of the end.
        errors = (grad * rounded[part]).addcmul_(inside, x[part], value=-1.0)
        grad_scale = errors.sum().view(1) * (factor / ctx.step)
        if not ctx.needs_input_grad[2]:
            return grad_x, grad_scale, None, None, None
        # The offset moves both ends alike. At a constant offset the scale moves only the upper.
        low, high = ctx.codes
        clipped = (grad - inside).sum().view(1) * factor
        # LSQ's factor makes relative changes of a scale as large as those of weights; an offset
        # is a number of steps, not one, and would hardly move with the same factor.
        return grad_x, grad_scale - clipped * low, clipped * (high - low), None, None


class _RoundLsqWeight(torch.autograd.Function):
    """Rounding of a weight with one learned scale per channel (or one for all), symmetric."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, quant_max: int, factor: float) -> Tensor:
        steps = per_channel(scale, weight)
        scaled = weight * steps.reciprocal()
        codes = scaled.round().clamp_(-quant_max, quant_max)
        ctx.save_for_backward(scaled, codes, scale)
        ctx.bounds, ctx.factor = (-quant_max, quant_max), factor
        return codes * steps

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled, codes, scale = ctx.saved_tensors
        grad_weight = pass_inside(grad, scaled, ctx.bounds)
        errors = (grad * codes).addcmul_(grad_weight, scaled, value=-1.0)
        grad_scale = errors.flatten(1).sum(1) if scale.numel() > 1 else errors.sum().view(1)
        mild = _mildness(scaled, scale, ctx.bounds[1])
        return grad_weight, grad_scale.mul_(mild).mul_(ctx.factor), None, None


def _mildness(scaled: Tensor, scale: Tensor, quant_max: int) -> Tensor:
    """What a scale's gradient is multiplied by, C or 1, at most 1.

    The paper's factor makes relative changes of a scale as large as those of the weights at its
    starting point, `2 * mean(abs(w)) / sqrt(quant_max)`. They grow with the inverse square of the
    scale. Down to 4 bits the best scale is about half of that, at 8 bits a fifth: undamped, a
    channel in 25 shrank to where most of its weights were clipped, for under a batch norm nothing
    pulls it back. So below half of the starting point they grow no further.

    Filters of nearly zero weights have huge gradients under a batch norm, too: the output does not
    depend on their size. Theirs are relative to the tensor's typical starting point.
    """
    limit = rows(scaled, scale).abs().mean(1).mul_(scale).square_().div_(quant_max)
    return scale.square().div_(torch.maximum(limit, limit.mean())).clamp_(max=1.0)
