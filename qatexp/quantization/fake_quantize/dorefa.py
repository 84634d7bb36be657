"""DoReFa: weights shaped by tanh, activations on a fixed range.

Zhou et al. 2016, https://arxiv.org/abs/1606.06160.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qatexp.quantization.fake_quantize.activation import ActivationFakeQuantize
from qatexp.quantization.fake_quantize.weight import WeightFakeQuantize


class DorefaWeight(WeightFakeQuantize):
    """Codes of tanh(w), which spreads the many small weights over more of the grid.

    The paper divides by the largest |tanh w| of the layer, rounds to an even number of levels and
    leaves the result in -1..1. Here the grid is this project's: narrow and symmetric, so that zero
    is a code and integer kernels can use it, and the largest |tanh w| of each channel (or of the
    layer) is the end of the grid, not 1, so that a trained network stays near its function. The
    gradient passes through tanh, not through that maximum. Weights beyond 1 or so are squeezed:
    a pretrained network that has such needs training before it is of use.
    """

    def transform(self, weight: Tensor) -> Tensor:
        """Squeeze a weight of any size to -1..1."""
        return torch.tanh(weight)

    def update_(self, weight: Tensor) -> None:
        """Derive the scale from the weight as it is now."""
        self.set_scale_(self.absmax_scale(weight))


class DorefaActivation(ActivationFakeQuantize):
    """A fixed range with the straight-through gradient inside.

    The paper clips to 0..1, for which a network has to be trained from the start; here calibration
    has found the range of the trained network, and it stays.
    """
