"""Integer codes with their grid, and the float32 arithmetic between codes and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Scale, zero point and element type of a quantized tensor."""

    scale: np.float32
    zero_point: int
    dtype: torch.dtype

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest code, zero point subtracted."""
        info = torch.iinfo(self.dtype)
        return info.min - self.zero_point, info.max - self.zero_point


@dataclass(frozen=True)
class Codes:
    """A tensor of integer codes, and what they stand for."""

    codes: Tensor
    grid: Grid

    def shifted(self) -> Tensor:
        """Codes less the zero point, as float32: exact."""
        values = self.codes.float()
        return values.sub_(self.grid.zero_point) if self.grid.zero_point else values

    def values(self) -> Tensor:
        """DequantizeLinear."""
        return self.shifted().mul_(float(self.grid.scale))


@dataclass(frozen=True)
class Weight:
    """A constant of integer codes with zero point 0, and one scale or one for each channel."""

    codes: Tensor
    scale: np.ndarray[Any, Any]
    axis: int

    def values(self) -> Tensor:
        """DequantizeLinear."""
        scale = torch.from_numpy(np.atleast_1d(self.scale))
        shape = [1] * self.codes.dim()
        shape[self.axis] = -1
        return self.codes.float() * (scale.view(shape) if self.scale.ndim else scale)


def quantize(values: Tensor, grid: Grid) -> Tensor:
    """QuantizeLinear: a division in float32, halves to even, saturation."""
    return to_codes(values / torch.tensor(grid.scale), grid)


def requantize(sums: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """Codes of int32 sums, as MLAS does it: one float32 product, halves to even, saturation."""
    return to_codes(sums.float() * scale, grid)


def to_codes(steps: Tensor, grid: Grid) -> Tensor:
    """Codes of steps counted from the zero point: it is added after rounding."""
    return steps.clamp(*grid.limits).round_().add_(grid.zero_point).to(grid.dtype)


def saturate(steps: Tensor, grid: Grid) -> Tensor:
    """Codes of steps that hold the zero point already: another result where it is odd, at ties."""
    info = torch.iinfo(grid.dtype)
    return steps.round().clamp_(info.min, info.max).to(grid.dtype)
