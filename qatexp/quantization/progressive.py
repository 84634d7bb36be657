"""Change the bits of a prepared model's quantizers during training: from wide to narrow.

At each change the ranges are calibrated anew, so that the narrower grid starts where calibration
at its bits would have put it on the present weights. Starting 2 bits from a network trained at 4
is worth half a point to a point: Zhuang et al. 2018, https://arxiv.org/abs/1711.00205.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from qatexp.config.schema import QConfig
from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.grids import (
    bits_of,
    grid_of,
    restore_grid_,
    set_activation_grid_,
    set_weight_grid_,
)
from qatexp.quantization.prepare import activation_quantizers, weight_quantizers


@dataclass
class _Target:
    """A quantizer and the bits that it ends with."""

    quantizer: ActivationFakeQuantize | WeightFakeQuantize
    bits: int


class ProgressiveBits:
    """Lead a prepared model through wider bits to those that it was prepared for.

    Args:
        graph_module: prepared and calibrated at its final bits.
        bits: wider bits in falling order; a quantizer that ends wider than one of them keeps its
            own.
        qconfig: what the model was prepared with.
        share: share (0..1) of the training that `bits` divide equally among them.
        calibrate_: finds all ranges anew and leaves the model in the mode that it was in.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        bits: Sequence[int],
        *,
        qconfig: QConfig,
        share: float,
        calibrate_: Callable[[], None],
    ) -> None:
        quantizers: list[ActivationFakeQuantize | WeightFakeQuantize] = []
        quantizers += [quantizer for _, quantizer in activation_quantizers(graph_module)]
        quantizers += [quantizer for quantizer, _ in weight_quantizers(graph_module)]
        self._targets = [_Target(item, bits_of(item)) for item in quantizers]
        self._bits, self._share, self._calibrate_ = tuple(bits), share, calibrate_
        self._qconfig = qconfig
        self._present: int | None = None

    def advance_(self, share: float) -> None:
        """Take the bits for this share (0..1) of the training, where they change."""
        least = self._least_bits(share)
        if least == self._present:
            return
        self._present = least
        changed = [item for item in self._targets if _changes(item, least)]
        for item in changed:
            self._set_bits_(item.quantizer, max(item.bits, least))
        if changed:
            self._calibrate_()

    def state(self) -> dict[str, Any]:
        """The present bits; grids are no tensors, and so no part of the model's own state."""
        return {
            "present": self._present,
            "grids": [grid_of(item.quantizer) for item in self._targets],
        }

    def restore_(self, state: Mapping[str, Any]) -> None:
        """Take the bits of a state; the model's tensors have to follow."""
        for item, grid in zip(self._targets, state["grids"], strict=True):
            restore_grid_(item.quantizer, grid)
        self._present = state["present"]

    def _set_bits_(self, quantizer: ActivationFakeQuantize | WeightFakeQuantize, bits: int) -> None:
        if isinstance(quantizer, WeightFakeQuantize):
            set_weight_grid_(quantizer, bits)
        else:
            set_activation_grid_(quantizer, bits, self._qconfig)

    def _least_bits(self, share: float) -> int:
        """Bits that no quantizer falls below now; 0 once all have their own."""
        if not self._bits or share >= self._share:
            return 0
        return self._bits[int(share / self._share * len(self._bits))]


def _changes(item: _Target, least: int) -> bool:
    return bits_of(item.quantizer) != max(item.bits, least)
