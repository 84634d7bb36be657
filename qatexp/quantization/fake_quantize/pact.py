"""PACT: a learned clipping value.

Choi et al. 2018, https://arxiv.org/abs/1805.06085. Its weights are quantized as in DoReFa.
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
    snap,
)
from qatexp.quantization.fake_quantize.sampling import sample


class PactActivation(ActivationFakeQuantize):
    """The end `alpha` of the range is learned, from the values that it clips.

    The paper knows only ranges from zero to alpha. Signed ones keep the zero point that
    calibration found, and alpha is their farther end: both ends move with it in proportion. Alpha
    starts from calibration, and one step changes it by 5 % at most. The paper's L2 penalty on
    alpha is the weight decay of the learned scales' parameter group.
    """

    learned = True

    def _register_range(self) -> None:
        super()._register_range()
        self.alpha = nn.Parameter(torch.ones(1))
        self.previous_alpha: Tensor
        self.register_buffer("previous_alpha", torch.ones(1))

    def _round(self, x: Tensor) -> Tensor:
        quantized = _RoundPact.apply(x, self.alpha, self.scale, self.codes())
        assert isinstance(quantized, Tensor)
        return quantized

    def settle_(self) -> None:
        """Limit the optimizer's last step, and derive the scale from the clipping value."""
        codes = _farthest(self.codes())
        upper = math.inf if self.clip is None else self.clip[1]
        reach = MAX_STEP * host_value(self.previous_alpha)
        limit_step_(self.alpha, self.previous_alpha, reach=reach, low=MIN_SCALE, high=upper)
        self.scale.copy_(self.alpha.detach() / codes)

    def set_range_(self, low: float, high: float) -> None:
        """Set the grid; the next step of training starts from here."""
        super().set_range_(low, high)
        with torch.no_grad():
            self.alpha.copy_(self.scale * _farthest(self.codes()))
        self.previous_alpha.copy_(self.alpha.detach())


class _RoundPact(torch.autograd.Function):
    """Rounding whose clipped values alone say where the clipping value should go."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _alpha: Tensor, scale: Tensor, codes: tuple[Any, Any]
    ) -> Tensor:
        step = host_value(scale)
        ctx.bounds, ctx.alpha = (codes[0] * step, codes[1] * step), _farthest(codes) * step
        rounded = snap(x, step, ctx.bounds)
        ctx.save_for_backward(x, rounded)
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, rounded = ctx.saved_tensors
        part, weight = sample(x)
        grad_x, inside = pass_and_sample(ctx, grad, x, part)
        # Outside the range `rounded` is its end, which moves in proportion to alpha.
        clipped = (grad[part] - inside).mul_(rounded[part]).sum()
        return grad_x, (clipped * (weight / ctx.alpha)).view(1), None, None


def _farthest(codes: tuple[Any, Any]) -> Any:
    """Distance of the farther end of the range from zero, in steps."""
    low, high = codes
    return torch.maximum(high, -low) if isinstance(high, Tensor) else max(high, -low)
