"""How a folded model becomes integer codes with quantize and dequantize operators.

The only module that calls torchao's conversion.
"""

from __future__ import annotations

import warnings

import torch
from torch import fx

from qatexp.errors import QuantizationError
from qatexp.quantization.fold import FoldReport, fold_
from qatexp.quantization.graph_ops import copied, is_batch_norm, is_op, is_view, source


def fold(prepared: fx.GraphModule) -> tuple[fx.GraphModule, FoldReport]:
    """Copy a prepared, trained model and fold its batch norms; the copy is in eval mode."""
    folded = copied(prepared).eval()
    report = fold_(folded)
    return folded, report


def convert(folded: fx.GraphModule, *, float_weights: bool = False) -> fx.GraphModule:
    """Turn a folded model into one with integer weights and quantize/dequantize operators.

    The result computes bit for bit what the folded model computes, on the CPU.

    Args:
        folded: model without batch norm, in eval mode.
        float_weights: only activations are quantized. They become rounding in float: between
            quantize and dequantize operators, ONNX Runtime would quantize the weights by itself.

    Raises:
        QuantizationError: a batch norm is left, which would be deployed in float unnoticed.
    """
    left = [node.name for node in folded.graph.nodes if is_batch_norm(node)]
    if left:
        raise QuantizationError(f"batch norm left after folding: {', '.join(left)}")
    with warnings.catch_warnings():
        # torchao still imports parts of torch.ao.quantization, which announces its removal.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        converted = convert_pt2e(copied(folded))
    assert isinstance(converted, fx.GraphModule)
    graph_module = fx.GraphModule(converted, converted.graph)
    if float_weights:
        _round_in_float_(graph_module)
    else:
        _requantize_views_(graph_module)
    return graph_module


def _round_in_float_(graph_module: fx.GraphModule) -> None:
    """Write every pair of quantize and dequantize as multiplication, rounding and clamping."""
    aten, graph = torch.ops.aten, graph_module.graph
    for node in list(graph.nodes):
        if not is_op(node, {torch.ops.quantized_decomposed.quantize_per_tensor.default}):
            continue
        x, scale, zero_point, low, high = node.args[:5]
        assert isinstance(x, fx.Node)
        assert isinstance(scale, float)
        bounds = low - zero_point, high - zero_point
        with graph.inserting_before(node):
            value = graph.call_function(aten.mul.Tensor, (x, 1.0 / scale))
            value = graph.call_function(aten.round.default, (value,))
            value = graph.call_function(aten.clamp.default, (value, *bounds))
            value = graph.call_function(aten.mul.Tensor, (value, scale))
        value.meta = dict(x.meta)
        for reader in list(node.users):
            reader.replace_all_uses_with(value)
            graph.erase_node(reader)
        graph.erase_node(node)
    graph.lint()
    graph_module.recompile()


def _requantize_views_(graph_module: fx.GraphModule) -> None:
    """Repeat a tensor's quantize and dequantize behind every view of it.

    The values do not change, since they lie on that grid already; but integer kernels read and
    write quantized tensors, so a runtime fuses a view only between two such pairs.
    """
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    dequantize = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    graph = graph_module.graph
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if not is_view(node) or not isinstance(value, torch.Tensor):
            continue
        origin = source(node)
        if not is_op(origin, {dequantize}):
            continue
        with graph.inserting_after(node):
            quantized = graph.call_function(quantize, (node, *origin.args[1:]))
        with graph.inserting_after(quantized):
            restored = graph.call_function(dequantize, (quantized, *origin.args[1:]))
        quantized.meta, restored.meta = dict(node.meta), dict(node.meta)
        node.replace_all_uses_with(restored, delete_user_cb=lambda user, q=quantized: user is not q)
    graph.lint()
    graph_module.recompile()
