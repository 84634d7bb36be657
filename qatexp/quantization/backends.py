"""The numeric schemes of deployment targets, by the name that `qconfig.backend` takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qatexp.config.schema import Backend, QConfig
from qatexp.quantization.spec import ActivationSpec


@dataclass(frozen=True, slots=True)
class BackendProfile:
    """How a backend represents activations; weights are int8, symmetric, everywhere.

    `reduce_range` takes one bit from 8-bit activations: u8s8 products of CPUs without VNNI
    saturate in 16 bits (onnxruntime#6004, pytorch#103646), and fbgemm's settings always did so.
    """

    dtype: torch.dtype
    symmetric: bool
    reduce_range: bool

    def activation(self, bits: int, *, symmetric: bool, non_negative: bool) -> ActivationSpec:
        """Choose the grid of one activation.

        Args:
            bits: requested bits, 2..8.
            symmetric: a fixed zero point in the middle of the range, for signed tensors.
            non_negative: the tensor cannot be negative, for instance behind a ReLU.
        """
        levels_bits = min(bits, 7) if self.reduce_range else bits
        low = 0 if self.dtype == torch.uint8 else -(2 ** (levels_bits - 1))
        high = low + 2**levels_bits - 1
        middle = low + 2 ** (levels_bits - 1)
        if non_negative:
            # Half of a grid around zero would never be used, and saturation does the ReLU's work.
            zero_point: int | None = low
        else:
            zero_point = middle if symmetric else None
        return ActivationSpec(bits, self.dtype, low, high, zero_point)


_ORT = BackendProfile(torch.uint8, symmetric=False, reduce_range=False)
_FBGEMM = BackendProfile(torch.uint8, symmetric=False, reduce_range=True)
_XNNPACK = BackendProfile(torch.int8, symmetric=False, reduce_range=False)

PROFILES: dict[Backend, BackendProfile] = {
    Backend.onnxruntime: _ORT,
    Backend.x86: _FBGEMM,
    Backend.fbgemm: _FBGEMM,
    Backend.xnnpack: _XNNPACK,
    Backend.qnnpack: _XNNPACK,
}
"""Backends that this version prepares models for; the configuration refuses the others."""


def activation_grid(qconfig: QConfig, bits: int, *, non_negative: bool) -> ActivationSpec:
    """The grid of an activation of these bits, as `qconfig` or else its backend has it.

    Args:
        qconfig: the backend and the scheme.
        bits: requested bits, 2..8.
        non_negative: the tensor cannot be negative.
    """
    profile, symmetric = PROFILES[qconfig.backend], qconfig.activation.symmetric
    symmetric = profile.symmetric if symmetric is None else symmetric
    return profile.activation(bits, symmetric=symmetric, non_negative=non_negative)
