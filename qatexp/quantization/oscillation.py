"""How many weights flip between two codes during training, layer by layer.

Weights near a rounding threshold jump back and forth at low bits, and disturb the batch-norm
statistics: Nagel et al. 2022, "Overcoming oscillations in quantization-aware training",
https://arxiv.org/abs/2203.11086.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from torch import Tensor, fx

from qatexp.quantization.graph_ops import layer_name
from qatexp.quantization.prepare import weight_quantizer_calls

SAMPLES = 10
"""Pairs of neighbouring steps that are compared in an epoch: comparing all would cost time."""


class OscillationWatch:
    """Compares the integer codes of all weights before and after some steps of each epoch.

    Args:
        graph_module: prepared model in training.
        steps_per_epoch: steps of one epoch.
    """

    def __init__(self, graph_module: fx.GraphModule, *, steps_per_epoch: int) -> None:
        self._layers = [
            (layer_name(next(iter(call.users))), quantizer, weight)
            for call, quantizer, weight in weight_quantizer_calls(graph_module)
        ]
        self._every = max(steps_per_epoch // SAMPLES, 2)
        self._codes: list[Tensor] = []
        self._flips: dict[str, list[float]] = {name: [] for name, _, _ in self._layers}

    def after_step(self, step: int) -> None:
        """Note the codes after the step of this number, or compare with those before it."""
        if step % self._every == 0:
            self._codes = [quantizer.codes(weight) for _, quantizer, weight in self._layers]
        elif step % self._every == 1 and self._codes:
            for (name, quantizer, weight), before in zip(self._layers, self._codes, strict=True):
                changed = (quantizer.codes(weight) != before).float().mean()
                self._flips[name].append(float(changed))
            self._codes = []

    def end_epoch(self) -> dict[str, float]:
        """Share (0..1) of each layer's weights that changed their code in a step of this epoch."""
        shares = {name: fmean(flips) for name, flips in self._flips.items() if flips}
        self._flips = {name: [] for name in self._flips}
        return shares

    def state(self) -> dict[str, Any]:
        """What is carried from one epoch to the next: codes that are still to be compared."""
        return {"codes": list(self._codes)}

    def restore_(self, state: Mapping[str, Any]) -> None:
        """Go on from a state between two epochs, tensors on any device."""
        # Before the first comparison of a training there are no codes.
        pairs = zip(state["codes"], self._layers, strict=bool(state["codes"]))
        self._codes = [codes.to(weight.device) for codes, (_, _, weight) in pairs]
