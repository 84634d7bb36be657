"""Fake quantization: rounding to the integer grid in float, with a gradient to train through.

The classes plug into torchao's `prepare` and `convert` as `observer_or_fake_quant_ctr`. Training
and conversion read the same stored scale, so that the weights that were trained are the weights
that are deployed (torchao's fused observer trains with one scale and converts with another).
"""

from __future__ import annotations

from qatexp.quantization.fake_quantize.activation import ActivationFakeQuantize
from qatexp.quantization.fake_quantize.dorefa import DorefaActivation, DorefaWeight
from qatexp.quantization.fake_quantize.lsq import LsqActivation, LsqWeight
from qatexp.quantization.fake_quantize.minmax_ema import AbsMaxWeight, MinMaxEmaActivation
from qatexp.quantization.fake_quantize.pact import PactActivation
from qatexp.quantization.fake_quantize.weight import WeightFakeQuantize

__all__ = [
    "AbsMaxWeight",
    "ActivationFakeQuantize",
    "DorefaActivation",
    "DorefaWeight",
    "LsqActivation",
    "LsqWeight",
    "MinMaxEmaActivation",
    "PactActivation",
    "WeightFakeQuantize",
]
