"""The integer grid of a fake quantizer: read its bits, or give it those of another width."""

from __future__ import annotations

from qatexp.config.schema import QConfig
from qatexp.quantization.backends import activation_grid
from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.spec import WeightSpec


def bits_of(quantizer: ActivationFakeQuantize | WeightFakeQuantize) -> int:
    """Bits of a quantizer's range; the narrow range -7..7 of a weight has 4."""
    return int(quantizer.quant_max - quantizer.quant_min).bit_length()


Grid = tuple[int, int, int | None]
"""Smallest code, largest code, and the code of zero where it is fixed."""


def grid_of(quantizer: ActivationFakeQuantize | WeightFakeQuantize) -> Grid:
    """Read the grid of a quantizer."""
    fixed = quantizer.fixed_zero_point if isinstance(quantizer, ActivationFakeQuantize) else None
    return quantizer.quant_min, quantizer.quant_max, fixed


def restore_grid_(quantizer: ActivationFakeQuantize | WeightFakeQuantize, grid: Grid) -> None:
    """Give a quantizer a grid that `grid_of` has read; its tensors have to follow."""
    quantizer.quant_min, quantizer.quant_max, fixed = grid
    if isinstance(quantizer, ActivationFakeQuantize):
        quantizer.fixed_zero_point = fixed


def set_weight_grid_(quantizer: WeightFakeQuantize, bits: int) -> None:
    """Give a weight the narrow grid of these bits; its scales have to follow."""
    largest = WeightSpec(bits, quantizer.per_channel).quant_max
    quantizer.quant_min, quantizer.quant_max = -largest, largest


def set_activation_grid_(quantizer: ActivationFakeQuantize, bits: int, qconfig: QConfig) -> None:
    """Give an activation the backend's grid of these bits; its range has to follow."""
    non_negative = quantizer.fixed_zero_point == quantizer.quant_min
    spec = activation_grid(qconfig, bits, non_negative=non_negative)
    quantizer.quant_min, quantizer.quant_max = spec.quant_min, spec.quant_max
    quantizer.fixed_zero_point = spec.zero_point
    quantizer.zero_point.fill_(spec.zero_point or 0)
