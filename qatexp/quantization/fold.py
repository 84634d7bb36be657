"""Fold batch norm away: into the weight's *scale* after training, so that no code moves.

What a quantized layer becomes is worked out in `folding.py`; here the graph is rewritten.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qatexp.quantization.batch_norm import BatchNorm
from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.fake_quantize.rounding import per_channel
from qatexp.quantization.graph_ops import (
    WEIGHTED,
    attribute_of,
    folding_layer,
    following_batch_norm,
    is_batch_norm,
    is_op,
    layer_name,
    module_of,
    source,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldReport:
    """How many batch norms were folded, and which layers could not be."""

    folded: int
    unfolded: tuple[str, ...]


def fold_into_weights_(
    graph_module: fx.GraphModule, layers: Container[fx.Node] | None = None
) -> None:
    """Fold batch norm into float weights: before quantizers are there, or where there are none.

    Args:
        graph_module: changed in place.
        layers: those whose batch norm is folded; None for all.
    """
    for node in list(graph_module.graph.nodes):
        layer = folding_layer(node)
        if layer is None or (layers is not None and layer not in layers):
            continue
        factor, shift = _affine(node)
        weight = attribute_of(layer.args[1])
        bias = _layer_bias(layer)
        with torch.no_grad():
            folded = weight * factor.view(-1, *[1] * (weight.dim() - 1)).float()
            offset = shift if bias is None else shift + bias.double() * factor
        _set_parameters_(graph_module, layer, folded, offset.float(), trainable=True)
        node.replace_all_uses_with(layer)
        graph_module.graph.erase_node(node)
    _clean_(graph_module)


def fold_(graph_module: fx.GraphModule) -> FoldReport:
    """Fold a trained, prepared graph: batch norms into scales, biases onto the int32 grid.

    Batch norms that follow no layer become a float multiplication and addition; the report names
    them, and so does a warning.
    """
    folded, unfolded = 0, []
    for module in graph_module.modules():
        if isinstance(module, ActivationFakeQuantize):
            module.settle_()
    for node in list(graph_module.graph.nodes):
        if is_op(node, WEIGHTED) and weight_quantizer_of(node) is not None:
            batch_norm = following_batch_norm(node)
            _fold_layer_(graph_module, node, batch_norm)
            folded += batch_norm is not None
    fold_into_weights_(graph_module)  # those of layers that are not quantized
    for node in list(graph_module.graph.nodes):
        if is_batch_norm(node):
            unfolded.append(layer_name(node))
            _to_affine_(graph_module, node)
    _clean_(graph_module)
    if unfolded:
        log.warning("batch norm without a layer before it stays in float: %s", ", ".join(unfolded))
    return FoldReport(folded, tuple(unfolded))


def _fold_layer_(graph_module: fx.GraphModule, node: fx.Node, batch_norm: fx.Node | None) -> None:
    quantizer = weight_quantizer_of(node)
    call = node.args[1]
    assert isinstance(call, fx.Node)
    assert quantizer is not None
    assert quantizer.folding is not None
    weight = attribute_of(call.args[0])
    quantizer.update_(weight)
    codes, scale, bias = quantizer.folding.parameters(weight)
    if batch_norm is not None:
        batch_norm.replace_all_uses_with(node)
        graph_module.graph.erase_node(batch_norm)
    static = _static_quantizer(quantizer, scale, len(weight))
    graph_module.set_submodule(str(call.target), static)
    _set_parameters_(graph_module, node, codes * per_channel(scale, weight), bias, trainable=False)


def _static_quantizer(
    quantizer: WeightFakeQuantize, scale: Tensor, channels: int
) -> WeightFakeQuantize:
    static = WeightFakeQuantize(
        dtype=quantizer.dtype,
        quant_min=quantizer.quant_min,
        quant_max=quantizer.quant_max,
        qscheme=quantizer.qscheme,
        channels=channels,
    )
    static.scale = scale
    static.train(quantizer.training)
    return static


def input_quantizer_of(layer: fx.Node) -> ActivationFakeQuantize | None:
    """The quantizer of a layer's input, through any views; None where it is not quantized."""
    read = layer.args[0]
    assert isinstance(read, fx.Node)
    quantizer = module_of(source(read))
    return quantizer if isinstance(quantizer, ActivationFakeQuantize) else None


def _affine(node: fx.Node) -> tuple[Tensor, Tensor]:
    module = module_of(node)
    assert isinstance(module, BatchNorm)
    return module.affine()


def _to_affine_(graph_module: fx.GraphModule, node: fx.Node) -> None:
    x = node.args[0]
    assert isinstance(x, fx.Node)
    factor, shift = _affine(node)
    shape = (1, -1, *[1] * (node.meta["val"].dim() - 2))
    names = f"{node.name}_factor", f"{node.name}_shift"
    for name, value in zip(names, (factor, shift), strict=True):
        graph_module.register_buffer(name, value.float().view(shape))
    with graph_module.graph.inserting_before(node):
        constants = [graph_module.graph.get_attr(name) for name in names]
        product = graph_module.graph.call_function(torch.ops.aten.mul.Tensor, (x, constants[0]))
        total = graph_module.graph.call_function(torch.ops.aten.add.Tensor, (product, constants[1]))
    product.meta, total.meta = dict(node.meta), dict(node.meta)
    node.replace_all_uses_with(total)
    graph_module.graph.erase_node(node)


def weight_quantizer_of(layer: fx.Node) -> WeightFakeQuantize | None:
    """The quantizer of a layer's weight, None where the weight stays in float."""
    call = layer.args[1]
    module = module_of(call) if isinstance(call, fx.Node) else None
    return module if isinstance(module, WeightFakeQuantize) else None


def _layer_bias(layer: fx.Node) -> Tensor | None:
    bias = layer.args[2] if len(layer.args) > 2 else None
    return None if bias is None else attribute_of(bias)


def _set_parameters_(
    graph_module: fx.GraphModule,
    layer: fx.Node,
    weight: Tensor,
    bias: Tensor | None,
    *,
    trainable: bool,
) -> None:
    """Give a layer parameters of its own: another layer may share the old ones."""
    graph = graph_module.graph
    call = layer.args[1]
    assert isinstance(call, fx.Node)
    old_weight = call if call.op == "get_attr" else call.args[0]
    assert isinstance(old_weight, fx.Node)
    arguments = [*layer.args, None][: max(3, len(layer.args))]
    for index, suffix, value in ((1, "weight", weight), (2, "bias", bias)):
        if value is None:
            continue
        name = f"{layer.name}_{suffix}"
        graph_module.register_parameter(name, nn.Parameter(value.detach(), trainable))
        with graph.inserting_before(call if suffix == "weight" else layer):
            attribute = graph.get_attr(name)
        attribute.meta = dict(old_weight.meta)
        attribute.meta["val"] = value.detach().to("meta")
        if suffix == "weight" and call.op != "get_attr":
            call.args = (attribute,)
        else:
            arguments[index] = attribute
    layer.args = tuple(arguments)


def _clean_(graph_module: fx.GraphModule) -> None:
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
