"""The bias of a quantized layer, in training and in evaluation."""

from __future__ import annotations

from torch import Tensor, nn

from qatexp.quantization.folding import Folding


class BiasFakeQuantize(nn.Module):
    """Gives a quantized layer its bias, on the grid of integer kernels.

    In training that is the layer's own bias, rounded to the layer's present grid; the gradient
    passes straight through. With a batch norm behind the layer it stays as it is, or absent: the
    batch norm rounds. In evaluation it is the bias of the folded layer.
    """

    def __init__(self, folding: Folding) -> None:
        super().__init__()
        self.folding = folding

    def forward(self, bias: Tensor | None = None) -> Tensor | None:
        """The bias (C) to compute with, in place of the layer's own (C)."""
        if self.folding.applies:
            return self.folding.folded_bias()
        if bias is None or self.folding.batch_norm is not None or not self.folding.active:
            return bias
        offset = self.folding.rounding()
        return bias if offset is None else bias + offset
