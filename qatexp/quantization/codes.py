"""The integer codes inside a model at each of its stages, to compare one stage with the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from qatexp.quantization.fake_quantize import ActivationFakeQuantize
from qatexp.quantization.graph_ops import is_op, layer_name, module_of, source
from qatexp.quantization.prepare import watching_activations, weight_quantizers


def fake_quantized_codes(
    graph_module: fx.GraphModule, images: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Run a prepared or a folded model on images (N, C, H, W).

    Returns:
        Codes of each activation, int32, by the name of its quantizer, which folding keeps; and the
        logits (N, classes).
    """
    codes: dict[str, Tensor] = {}

    def record(name: str, quantizer: ActivationFakeQuantize, output: Tensor) -> None:
        steps = (output / quantizer.scale.detach()).round()
        codes[name] = steps.to(torch.int32) + int(quantizer.zero_point)

    with watching_activations(graph_module, record), torch.no_grad():
        logits = graph_module(images)
    return codes, logits


def quantized_layers(graph_module: fx.GraphModule) -> dict[str, str]:
    """What computed each quantized activation of a prepared or folded model, by quantizer."""
    return {
        str(node.target): layer_name(source(node.args[0]))
        for node in graph_module.graph.nodes
        if isinstance(module_of(node), ActivationFakeQuantize)
    }


def converted_codes(
    converted: fx.GraphModule, images: Tensor
) -> tuple[list[tuple[str, Tensor]], Tensor]:
    """Run a converted model on images (N, C, H, W).

    Returns:
        Each quantized tensor with the name of what computed it, in the graph's order; and the
        logits (N, classes).
    """
    reader = _Reader(converted)
    with torch.no_grad():
        logits = reader.run(images)
    return reader.codes, logits


class _Reader(fx.Interpreter):
    """Keeps what each quantize operator returns."""

    def __init__(self, converted: fx.GraphModule) -> None:
        super().__init__(converted)
        self.codes: list[tuple[str, Tensor]] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if is_op(n, {torch.ops.quantized_decomposed.quantize_per_tensor.default}):
            self.codes.append((layer_name(_computed(n.args[0])), result))
        return result


def _computed(node: Any) -> fx.Node:
    """What computed the values of a node, behind views and their own quantizers."""
    found = source(node)
    while is_op(found, {torch.ops.quantized_decomposed.dequantize_per_tensor.default}):
        quantize = found.args[0]
        assert isinstance(quantize, fx.Node)
        found = source(quantize.args[0])  # type: ignore[arg-type]
    return found


def moved_weight_codes(prepared: fx.GraphModule, folded: fx.GraphModule) -> int:
    """Number of weights whose integer code folding changed, other than by a gamma's sign.

    Channels that a zero gamma makes constant do not count: none of their weights is used.
    """
    moved = 0
    pairs = zip(weight_quantizers(prepared), weight_quantizers(folded), strict=True)
    for (quantizer, weight), (static, folded_weight) in pairs:
        before, after = quantizer.codes(weight).abs(), static.codes(folded_weight).abs()
        used = after.flatten(1).any(1).view(-1, *[1] * (after.dim() - 1))
        moved += int(((before != after) & used).sum())
    return moved
