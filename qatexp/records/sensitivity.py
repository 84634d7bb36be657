"""What quantizing one layer alone costs: the frozen result of `qatexp analyze`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """How logits differ from those of the FP32 model on the same images."""

    kl: float
    """Mean Kullback-Leibler divergence of the predicted probabilities, in nats, at least 0."""
    loss_increase: float
    """Rise of the mean cross entropy; negative where quantization happens to help."""
    top1_drop: float
    """Percentage points; negative where quantization happens to help."""
    sqnr_db: float
    """Power of the logits over that of their error, in dB; at most 150."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The damage of quantizing one tensor of one layer, with all else in FP32."""

    layer: str
    tensor: str
    """weight, or activation: the layer's input."""
    bits: int
    damage: Damage
