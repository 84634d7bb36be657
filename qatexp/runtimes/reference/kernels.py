"""The arithmetic of ONNX Runtime's fused integer kernels (MLAS) on x86-64 with AVX2 or newer.

Every function takes shifted codes and returns codes. Not modelled are the saturation of 8-bit
products on processors without VNNI and sums beyond int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qatexp.runtimes.reference.graph import Array
from qatexp.runtimes.reference.quantized import Codes, Grid, requantize, saturate

EXACT = 2**24
"""Integers up to here are exact in float32, and so is every partial sum of a layer below it."""


@dataclass(frozen=True)
class Window:
    """How a convolution walks over its input."""

    strides: Sequence[int]
    padding: Sequence[int]
    """Both of the last axis, then both of the one before: left, right, top, bottom."""
    dilations: Sequence[int]
    groups: int


def layer(
    x: Codes,
    weight: Tensor,
    grid: Grid,
    *,
    weight_scale: Array,
    bias: Array | None,
    window: Window | None,
) -> Tensor:
    """QLinearConv, or QGemm where there is no window.

    Args:
        x: input (N, C, H, W), (N, C, L) or (N, K).
        weight: integer weights (O, ...) as float32.
        grid: of the output.
        weight_scale: one or O scales.
        bias: float bias (O,), which the runtime rounds to the grid of the sums.
        window: of a convolution.
    """
    scale = np.float32(x.grid.scale) * weight_scale.astype(np.float32)
    largest = max(abs(limit) for limit in x.grid.limits)
    reach = float(weight.flatten(1).abs().sum(1).max()) * largest
    offset = None
    if bias is not None:
        offset = torch.from_numpy(np.rint(bias / scale).astype(np.int32))
        reach += float(offset.double().abs().max())
    exact = torch.float32 if reach < EXACT else torch.float64
    offset = None if offset is None else offset.to(exact)
    sums = _sums(x.shifted().to(exact), weight.to(exact), offset, window)
    factor = torch.from_numpy(np.atleast_1d(scale / grid.scale))
    return requantize(sums, factor.view(1, -1, *[1] * (sums.dim() - 2)), grid)


def _sums(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window | None) -> Tensor:
    if window is None:
        return functional.linear(x, weight, bias)
    if any(window.padding):
        x = functional.pad(x, list(window.padding))
    convolve = functional.conv1d if x.dim() == 3 else functional.conv2d
    strides, dilations = list(window.strides), list(window.dilations)
    return convolve(x, weight, bias, strides, 0, dilations, window.groups)


def add(a: Codes, b: Codes, grid: Grid) -> Tensor:
    """QLinearAdd: a float32 constant part, then two fused multiply-adds, B before A."""
    ratio_a, ratio_b = (np.float32(item.grid.scale / grid.scale) for item in (a, b))
    zeros = _fused(ratio_a, a.grid.zero_point, ratio_b * np.float32(b.grid.zero_point))
    constant = np.float32(grid.zero_point) - zeros
    # The doubles hold product and sum exactly, so that one rounding is left, as in an FMA.
    inner = (b.codes.double() * float(ratio_b) + float(constant)).float()
    steps = (a.codes.double() * float(ratio_a) + inner.double()).float()
    return saturate(steps, grid)


def _fused(a: np.float32, b: int, c: np.float32) -> np.float32:
    return np.float32(np.float64(a) * b + np.float64(c))


def multiply(a: Codes, b: Codes, grid: Grid) -> Tensor:
    """QLinearMul: exact products of codes, one float32 factor, the zero point before rounding."""
    factor = np.float32(a.grid.scale * b.grid.scale) / grid.scale
    steps = (a.shifted() * b.shifted()) * float(factor) + float(grid.zero_point)
    return saturate(steps, grid)


def global_average(x: Codes, grid: Grid) -> Tensor:
    """QLinearGlobalAveragePool: an integer sum, requantized with the count in the factor."""
    shape = x.codes.shape[2:]
    count = np.float32(np.prod(shape))
    factor = x.grid.scale / np.float32(grid.scale * count)
    sums = x.shifted().double().sum(tuple(range(2, x.codes.dim())), keepdim=True)
    return requantize(sums, torch.tensor(factor), grid)


def average(
    x: Codes,
    grid: Grid,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    count_padding: bool,
) -> Tensor:
    """QLinearAveragePool: float32 sums of values, window row by row, and a division.

    Args:
        x: input (N, C, H, W).
        grid: of the output.
        kernel: height and width of the window.
        strides: steps of the window.
        padding: left, right, top, bottom.
        count_padding: divide by the whole window at the border too.
    """
    values = functional.pad(x.values(), list(padding))
    inside = functional.pad(torch.ones(x.codes.shape[2:])[None, None], list(padding))
    total, count = _windows(values, kernel, strides), _windows(inside, kernel, strides)
    size = torch.tensor(float(np.prod(kernel))) if count_padding else count
    steps = total / size / torch.tensor(grid.scale) + float(grid.zero_point)
    return saturate(steps, grid)


def _windows(values: Tensor, kernel: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Sums over windows in the kernel's order: float32 sums depend on it."""
    rows, columns = (
        (size - width) // step + 1
        for size, width, step in zip(values.shape[2:], kernel, strides, strict=True)
    )
    total = torch.zeros(())
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            part = values[:, :, row :: strides[0], column :: strides[1]]
            total = total + part[:, :, :rows, :columns]
    return total
