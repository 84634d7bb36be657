"""The batch norm of a captured graph: its statistics can be frozen, its shift rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qatexp.quantization.folding import Folding


class BatchNorm(nn.Module):
    """Batch normalization over channels, with statistics that can be frozen during training.

    With running statistics it is what folding will make of it. Behind a quantized layer (`folding`)
    that means: frozen in training, a factor and a shift per channel, the shift rounded to the
    layer's grid; in evaluation nothing, since the layer computes with folded weights.
    """

    def __init__(self, *, eps: float, momentum: float) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.frozen = False
        self.folding: Folding | None = None
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (N, C, ...) with batch statistics in training, else the running ones."""
        if self.folding is not None and self.folding.applies:
            return x
        learning = self.training and not self.frozen
        bias: Tensor | None = self.bias
        if not learning and self.folding is not None and self.folding.active:
            bias = self._rounded(self.folding)
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

    def _rounded(self, folding: Folding) -> Tensor | None:
        """The bias moved so that the layer's whole shift lies on the grid; straight through."""
        offset = folding.rounding()
        if offset is None or self.bias is None:
            return self.bias if offset is None else offset
        return self.bias + offset
