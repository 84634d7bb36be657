"""The batch norm of a captured graph: its statistics can be frozen, its shift rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qatexp.quantization.bias import BiasGrid, round_to_grid


class BatchNorm(nn.Module):
    """Batch normalization over channels, with statistics that can be frozen during training.

    With running statistics (in evaluation, or frozen) it is what folding will make of it: a factor
    and a shift per channel, the shift rounded to the `grid` of the layer before, if one is set.
    """

    def __init__(self, *, eps: float, momentum: float) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.frozen = False
        self.grid: BiasGrid | None = None
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (N, C, ...) with batch statistics in training, else the running ones."""
        learning = self.training and not self.frozen
        bias = self.bias if learning else self._rounded_bias()
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            bias,
            training=learning,
            momentum=self.momentum,
            eps=self.eps,
        )

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and shift (C), float64, that equal this batch norm with running statistics."""
        with torch.no_grad():
            factor = torch.rsqrt(self.running_var.double() + self.eps)
            factor = factor if self.weight is None else factor * self.weight.double()
            shift = -self.running_mean.double() * factor
            shift = shift if self.bias is None else shift + self.bias.double()
        return factor, shift

    def _rounded_bias(self) -> Tensor | None:
        """The bias moved so that the layer's whole shift lies on the grid; straight through."""
        if self.grid is None or not self.grid.active:
            return self.bias
        factor, shift = self.affine()
        if self.grid.bias is not None:
            shift = shift + self.grid.bias.detach().double() * factor
        offset = (round_to_grid(shift, self.grid.step(factor)) - shift).float()
        return offset if self.bias is None else self.bias + offset
