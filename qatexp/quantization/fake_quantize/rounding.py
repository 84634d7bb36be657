"""The autograd functions of fake quantization: what is rounded how, and which gradient passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MAX_SCALE_STEP = 0.05
"""Largest relative change of a learned scale in one step of the optimizer.

An optimizer knows no scale's size: one step could carry a small one past zero, from where it does
not come back, and the layer is dead.
"""

MIN_SCALE = 1e-8
"""Smallest scale, so that a constant-zero tensor does not divide by zero."""


class RoundActivation(torch.autograd.Function):
    """Per-tensor rounding with the straight-through gradient and LSQ's gradient of the scale.

    Learned step size: Esser et al. 2020, https://arxiv.org/abs/1902.08153, equations 1 to 4.
    Clamping before scaling keeps every operation vectorized; only the clamped range needs saving.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, codes: tuple[int, int], grad_factor: float
    ) -> Tensor:
        """Round `x` to multiples of `scale`, from the lowest to the highest of `codes`."""
        step = scale.item()
        ctx.bounds = (codes[0] * step, codes[1] * step)
        ctx.step, ctx.grad_factor = step, grad_factor
        rounded = x.clamp(*ctx.bounds).mul_(1.0 / step).round_().mul_(step)
        ctx.save_for_backward(x, *([rounded] if scale.requires_grad else []))
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient where `x` was inside the range; collect the scale's gradient."""
        x, *rounded = ctx.saved_tensors
        # Written into the input's memory format: another one makes the backward pass of a
        # preceding batch norm ten times slower.
        grad_x = torch.empty_like(x)
        torch.ops.aten.hardtanh_backward.grad_input(grad, x, *ctx.bounds, grad_input=grad_x)
        if not rounded:
            return grad_x, None, None, None
        # Inside: round(v) - v, outside: the bound; with v = x / step.
        grad_scale = ((grad * rounded[0]).sum() - (grad_x * x).sum()) / ctx.step
        return grad_x, (grad_scale * ctx.grad_factor).view(1), None, None


class RoundWeight(torch.autograd.Function):
    """Rounding of a weight with one scale per channel (or one for all), symmetric."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, scale: Tensor, quant_max: int, grad_factor: float
    ) -> Tensor:
        """Round `weight` (C, ...) to multiples of `scale`, broadcast over channels."""
        steps = scale.view(-1, *[1] * (weight.dim() - 1))
        scaled = weight * (1.0 / steps)
        codes = scaled.round().clamp_(-quant_max, quant_max)
        ctx.save_for_backward(scaled, codes, scale)
        ctx.quant_max, ctx.grad_factor, ctx.scale_shape = quant_max, grad_factor, scale.shape
        return codes * steps

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through inside the range; the scale's gradient summed per channel."""
        scaled, codes, scale = ctx.saved_tensors
        inside = (scaled.abs() <= ctx.quant_max).to(grad.dtype)
        grad_weight = grad * inside
        if not ctx.needs_input_grad[1]:
            return grad_weight, None, None, None
        per_value = grad * codes - grad_weight * scaled
        per_channel = per_value.flatten(1).sum(1)
        if ctx.scale_shape[0] == 1:
            per_channel = per_channel.sum().view(1)
        # Filters of nearly zero weights under a batch norm have huge gradients: the output does not
        # depend on their size. Their scales would explode within a few steps; relative to the
        # tensor's typical scale their gradient is as mild as the others'.
        squares = scale.detach().square()
        per_channel = per_channel * (squares / squares.mean()).clamp(max=1.0)
        return grad_weight, per_channel * ctx.grad_factor, None, None


def limit_step_(scale: Tensor, previous: Tensor, *, upper: float | None = None) -> None:
    """Bring a learned scale back within `MAX_SCALE_STEP` of its value before the last step.

    Args:
        scale: positive afterwards.
        previous: the scale before; takes the new value.
        upper: largest scale allowed, None for any.
    """
    with torch.no_grad():
        bounded = torch.minimum(scale, previous * (1.0 + MAX_SCALE_STEP))
        bounded = torch.maximum(bounded, previous * (1.0 - MAX_SCALE_STEP))
        scale.copy_(bounded.clamp(MIN_SCALE, upper))
        previous.copy_(scale)
