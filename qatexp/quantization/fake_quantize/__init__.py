"""Fake quantization: rounding to the integer grid in float, with a gradient to train through.

The classes plug into torchao's `prepare` and `convert` as `observer_or_fake_quant_ctr`. Training
and conversion read the same stored scale, so that the weights that were trained are the weights
that are deployed (torchao's fused observer trains with one scale and converts with another).
"""

from __future__ import annotations

from qatexp.quantization.fake_quantize.activation import (
    ActivationFakeQuantize,
    LsqActivation,
    MinMaxEmaActivation,
)
from qatexp.quantization.fake_quantize.rounding import MIN_SCALE
from qatexp.quantization.fake_quantize.weight import AbsMaxWeight, LsqWeight, WeightFakeQuantize

__all__ = [
    "MIN_SCALE",
    "AbsMaxWeight",
    "ActivationFakeQuantize",
    "LsqActivation",
    "LsqWeight",
    "MinMaxEmaActivation",
    "WeightFakeQuantize",
]
