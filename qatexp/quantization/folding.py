"""What folding makes of a quantized layer: its codes, their scale, and its bias on int32's grid.

With codes q and scale s of a weight, and factor f = gamma / sqrt(var + eps) of the batch norm
behind it, the folded weight is sign(f) * q on the scale s * |f|, so that no code moves, and the
bias is beta + (b - mean) * f.

A fused kernel adds the bias to the int32 accumulator, on the grid of input scale x weight scale.
Below 8 bits that grid is coarse; even at 8 bits a bias off the grid moves, layer by layer, enough
codes to change one prediction in a hundred. So the fake-quantized model rounds its biases too,
wherever it computes with the running statistics: in training once batch norm is frozen, and in
evaluation, where it computes with folded weights altogether. Equal in exact arithmetic, a batch
norm on its own differs from a folded one by float rounding: a few codes in a million fall to the
other side of a tie, every layer multiplies them, and at 8 bits one prediction in 500 was another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.fake_quantize.rounding import per_channel

CODE_LIMIT = 2.0**30
"""Largest bias code: int32 with a bit to spare for the sum of products."""

SMALLEST_SCALE = 1e-20
"""Of a folded weight, which a gamma that nearly vanished makes tiny: its product with the scale of
any input is still a normal float32."""


class Affine(Protocol):
    """The part of a batch norm that is folded."""

    training: bool

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and shift (C), float64."""


@dataclass
class Folding:
    """A quantized layer with what will be folded into it, at its present state.

    `bias` is the layer's own, also where a batch norm behind it adds another. An input that stays
    in float has no quantizer, and the bias then no grid.
    """

    weight_quantizer: WeightFakeQuantize
    input_quantizer: ActivationFakeQuantize | None
    batch_norm: Affine | None
    bias: nn.Parameter | None

    @property
    def active(self) -> bool:
        """Quantization is switched on."""
        inputs = self.input_quantizer
        return self.weight_quantizer.enabled and (inputs is None or inputs.enabled)

    @property
    def applies(self) -> bool:
        """The layer computes as if folded: in evaluation, with quantization switched on."""
        last = self.weight_quantizer if self.batch_norm is None else self.batch_norm
        return self.active and not last.training

    def weight(self, weight: Tensor) -> Tensor:
        """The folded weight (C, ...) of a layer's weight, float32 on the grid of its codes."""
        codes, scale, _ = self.parameters(weight)
        return codes * per_channel(scale, weight)

    def parameters(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Codes (C, ...), scale (C or 1) and bias (C) of the folded layer, all float32."""
        fitted, scale, factor, bias = self._fitted()
        codes = self.weight_quantizer.codes(weight)
        if factor is not None:
            # A zero gamma makes the output constant: codes of zero on any scale.
            codes = codes * per_channel(factor.sign().float(), weight)
        ratio = per_channel(scale / fitted, weight)
        codes = torch.where(ratio < 1, (codes * ratio).round().float(), codes)
        return codes, fitted.float(), None if bias is None else bias.float()

    def folded_bias(self) -> Tensor | None:
        """The bias (C) of the folded layer, float32."""
        bias = self._fitted()[3]
        return None if bias is None else bias.float()

    def rounding(self) -> Tensor | None:
        """What moves the bias (C) onto its grid, float32; None without a bias or a grid."""
        scale, _, bias = self._exact()
        if bias is None or self.input_quantizer is None:
            return None
        return (round_to_grid(bias, scale * self._input_scale()) - bias).float()

    def _exact(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Scale (C or 1), the batch norm's factor (C) and the bias (C), float64, off any grid."""
        scale = self.weight_quantizer.scale.detach().double()
        bias = None if self.bias is None else self.bias.detach().double()
        if self.batch_norm is None:
            return scale, None, bias
        factor, shift = self.batch_norm.affine()
        # Behind a zero gamma any scale will do.
        scale = torch.where(factor == 0, scale, scale * factor.abs())
        return scale, factor, shift if bias is None else shift + bias * factor

    def _fitted(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Scale that has room for the bias, scale without that, factor and bias; float64.

        A gamma that nearly vanished leaves a scale so small that the bias has no int32 code. Such
        a scale is raised, and its codes shrink: what they contribute is next to nothing.
        """
        scale, factor, bias = self._exact()
        if bias is None or self.input_quantizer is None:
            return scale, scale, factor, bias
        needed = bias.abs() / (self._input_scale() * CODE_LIMIT)
        is_whole = scale.numel() == 1 and bias.numel() > 1
        raised = torch.maximum(scale, needed.max() if is_whole else needed)
        raised = raised.clamp_min(SMALLEST_SCALE)
        return raised, scale, factor, round_to_grid(bias, raised * self._input_scale())

    def _input_scale(self) -> Tensor:
        assert self.input_quantizer is not None
        return self.input_quantizer.scale.detach().double()


def round_to_grid(bias: Tensor, step: Tensor) -> Tensor:
    """Round a bias (C), float64, to multiples of a step (C or 1); a step of zero leaves it."""
    codes = bias / torch.where(step > 0, step, torch.ones_like(step))
    return torch.where((step > 0) & (codes.abs() < CODE_LIMIT), codes.round() * step, bias)
