"""What all fake quantizers share: how values are rounded, and which gradient passes to them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MAX_STEP = 0.05
"""Largest change of a learned range in one step of the optimizer, as a share of its size.

An optimizer knows no scale's size: one step could carry a small one past zero, from where it does
not come back, and the layer is dead.
"""

MIN_SCALE = 1e-8
"""Smallest scale, so that a constant-zero tensor does not divide by zero."""


class RoundActivation(torch.autograd.Function):
    """Per-tensor rounding with the straight-through gradient; the scale gets none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, codes: tuple[Any, Any]) -> Tensor:
        """Round `x` to multiples of `scale`, from the lowest to the highest of `codes`."""
        step = host_value(scale)
        ctx.bounds = codes[0] * step, codes[1] * step
        ctx.save_for_backward(x)
        return snap(x, step, ctx.bounds)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient where `x` was inside the range."""
        (x,) = ctx.saved_tensors
        return pass_inside(grad, x, ctx.bounds), None, None


class RoundWeight(torch.autograd.Function):
    """Rounding of a weight to a grid that spans all of it; the gradient passes everywhere."""

    @staticmethod
    def forward(_ctx: Any, weight: Tensor, scale: Tensor, quant_max: int) -> Tensor:
        """Round `weight` (C, ...) to multiples of `scale` (C or 1)."""
        steps = per_channel(scale, weight)
        return codes_of(weight, steps, quant_max).mul_(steps)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through."""
        return grad, None, None


def host_value(scale: Tensor) -> Any:
    """A scale (1) as a number on the CPU; elsewhere as it is, since reading it would wait."""
    return scale.item() if scale.is_cpu else scale.detach()


def snap(x: Tensor, step: Any, bounds: tuple[Any, Any]) -> Tensor:
    """Clamp to `bounds`, then round to multiples of `step`: each operation is vectorized."""
    return x.clamp(*bounds).mul_(1.0 / step).round_().mul_(step)


def pass_inside(grad: Tensor, x: Tensor, bounds: tuple[Any, Any]) -> Tensor:
    """The gradient where `x` lies between the bounds, else zero; in the memory format of `x`.

    Another format makes the backward pass of a preceding batch norm ten times slower.
    """
    if not x.is_cpu:
        return torch.where((x > bounds[0]) & (x < bounds[1]), grad, torch.zeros_like(x))
    passed = torch.empty_like(x)
    torch.ops.aten.hardtanh_backward.grad_input(grad, x, *bounds, grad_input=passed)
    return passed


def pass_and_sample(ctx: Any, grad: Tensor, x: Tensor, part: slice) -> tuple[Tensor | None, Tensor]:
    """What passes inside `ctx.bounds`: of all images if `x` needs it, and of a part of them."""
    if not ctx.needs_input_grad[0]:
        return None, pass_inside(grad[part], x[part], ctx.bounds)
    passed = pass_inside(grad, x, ctx.bounds)
    return passed, passed[part]


def per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """Scales (C or 1) in a shape that broadcasts over a weight (C, ...)."""
    return scale.detach().view(-1, *[1] * (weight.dim() - 1))


def rows(weight: Tensor, scale: Tensor) -> Tensor:
    """A weight (C, ...) with a row for each of its scales, C or 1."""
    return weight.reshape(scale.numel(), -1)


def codes_of(weight: Tensor, steps: Tensor, quant_max: int) -> Tensor:
    """Integer codes of a weight as a float tensor of its shape; symmetric."""
    return (weight * steps.reciprocal()).round_().clamp_(-quant_max, quant_max)


def limit_step_(
    value: Tensor, previous: Tensor, *, reach: Any, low: Any, high: Any = math.inf
) -> None:
    """Bring a learned value back to what one step of the optimizer may do to it.

    Args:
        value: between `low` and `high` afterwards.
        previous: the value before the step; takes the new one.
        reach: largest distance allowed between the two, unless `low` or `high` ask for more.
        low: smallest value allowed, a number or, for several values, a tensor.
        high: largest value allowed, a number.
    """
    with torch.no_grad():
        if value.is_cpu and value.numel() == 1:  # several times cheaper than operators
            before = previous.item()
            number = min(max(min(value.item(), before + reach), before - reach, low), high)
            value.fill_(number)
            previous.fill_(number)
        else:
            bounded = torch.clamp(value, previous - reach, previous + reach)
            previous.copy_(bounded.clamp_(min=low).clamp_(max=high))
            value.copy_(previous)
