"""Biases on the int32 grid of integer kernels: multiples of input scale x weight scale.

A fused kernel adds the bias to the int32 accumulator. Below 8 bits that grid is coarse; even at 8
bits a bias off the grid moves, layer by layer, enough codes to change one prediction in a hundred.
So the fake-quantized model rounds its biases too, wherever it computes with the running
statistics: in evaluation, and in training once batch norm is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

CODE_LIMIT = 2.0**30
"""Largest bias code: int32 with a bit to spare for the sum of products."""


class Scaled(Protocol):
    """The part of a fake quantizer that the grid depends on."""

    scale: Tensor
    enabled: bool


@dataclass
class BiasGrid:
    """Where the grid of a layer's bias comes from.

    `bias` is the layer's own bias where a batch norm behind it adds another.
    """

    input_quantizer: Scaled
    weight_quantizer: Scaled
    bias: nn.Parameter | None = None

    @property
    def active(self) -> bool:
        """Quantization is switched on."""
        return self.input_quantizer.enabled and self.weight_quantizer.enabled

    def step(self, factor: Tensor | None = None) -> Tensor:
        """Distance of grid points (C or 1), float64, behind a batch norm's factor (C)."""
        scale = self.weight_quantizer.scale.detach().double()
        scale = scale if factor is None else scale * factor.abs()
        return scale * self.input_quantizer.scale.detach().double()


def round_to_grid(bias: Tensor, step: Tensor) -> Tensor:
    """Round a bias (C), float64, to multiples of a step (C or 1); a step of zero leaves it."""
    codes = bias / torch.where(step > 0, step, torch.ones_like(step))
    return torch.where((step > 0) & (codes.abs() < CODE_LIMIT), codes.round() * step, bias)


class BiasFakeQuantize(nn.Module):
    """Rounds the bias of a layer without batch norm; the gradient passes straight through."""

    def __init__(self, grid: BiasGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, bias: Tensor) -> Tensor:
        """Round `bias` (C) to the layer's present grid."""
        if not self.grid.active:
            return bias
        exact = bias.detach().double()
        offset = (round_to_grid(exact, self.grid.step()) - exact).float()
        return bias + offset
