"""What the operators of a captured graph mean for quantization."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import fx, nn

from qatexp.quantization.batch_norm import BatchNorm

aten = torch.ops.aten

WEIGHTED = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}
"""Operators with a quantized weight as second argument, output channels on its axis 0."""

FLOAT_LAYERS = {
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    aten.matmul.default,
    aten.bmm.default,
    aten.einsum.default,
    aten.scaled_dot_product_attention.default,
}
"""Operators that multiply and accumulate, but for which there is no integer form here."""

INTEGER = {
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.cat.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
}
"""Operators with an integer kernel of their own: every tensor they touch is quantized."""

UNARY_FLOAT = {
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.silu.default,
    aten.sigmoid.default,
    aten.gelu.default,
    aten.leaky_relu.default,
}
"""Element-wise functions computed in float between a dequantized input and a quantized output."""

CLIPS = {aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default}
"""Clipping from zero (to a constant), which saturation of an unsigned grid can stand for."""

VIEWS = {
    aten.max_pool2d.default,
    aten.flatten.using_ints,
    aten.view.default,
    aten.reshape.default,
    aten.pad.default,
    aten.constant_pad_nd.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.permute.default,
    aten.transpose.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.expand.default,
    aten.chunk.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    operator.getitem,
}
"""Operators that only move or select values: their output lies on their input's grid."""


def copied(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy of a graph with weights and quantizers of its own."""
    with warnings.catch_warnings():
        # torch 2.11 warns of a class of its own that it still uses when a graph is copied.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        return copy.deepcopy(graph_module)


def is_op(node: fx.Node, operators: AbstractSet[Any]) -> bool:
    """Whether the node calls one of these operators."""
    return node.op == "call_function" and node.target in operators


def counts_other_windows(node: fx.Node) -> bool:
    """Whether the node is an average pool whose last windows hang over the border."""
    return node.target is aten.avg_pool2d.default and bool((*node.args, *[None] * 7)[4])


def module_of(node: fx.Node) -> nn.Module | None:
    """The module that a node calls, None where it calls none."""
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    assert owner is not None
    return owner.get_submodule(str(node.target))


def attribute_of(node: Any) -> Any:
    """The parameter or buffer that a ``get_attr`` node reads."""
    assert isinstance(node, fx.Node)
    owner = node.graph.owning_module
    assert owner is not None
    path, _, name = str(node.target).rpartition(".")
    return getattr(owner.get_submodule(path), name)


def is_batch_norm(node: fx.Node) -> bool:
    """Whether the node is a batch norm of the captured graph."""
    return isinstance(module_of(node), BatchNorm)


def folding_layer(node: fx.Node) -> fx.Node | None:
    """The layer whose only reader is this batch norm; None for other nodes too.

    Batch norm scales dimension 1. Of a linear layer on tokens (N, L, C) that is not its output's
    features, which are the last, and nothing can be folded.
    """
    layer = node.args[0] if is_batch_norm(node) else None
    if not isinstance(layer, fx.Node) or not is_op(layer, WEIGHTED) or len(layer.users) > 1:
        return None
    is_of_tokens = is_op(layer, {aten.linear.default}) and layer.meta["val"].dim() > 2
    return None if is_of_tokens else layer


def following_batch_norm(layer: fx.Node) -> fx.Node | None:
    """The batch norm that is the only reader of a layer, None where there is no such."""
    user = next(iter(layer.users), None)
    return user if user is not None and folding_layer(user) is layer else None


def is_view(node: fx.Node) -> bool:
    """Whether the node moves values without changing them (dropout: outside training)."""
    if is_op(node, {aten.pad.default, aten.constant_pad_nd.default}):
        return _pads_with_zero(node)
    return is_op(node, VIEWS) or isinstance(module_of(node), nn.Dropout | nn.Dropout2d)


def _pads_with_zero(node: fx.Node) -> bool:
    """Zero lies on every grid; another constant may not."""
    constants = [arg for arg in node.args[2:] if isinstance(arg, int | float)]
    return all(value == 0 for value in constants)


def clip_max(node: fx.Node) -> float | None:
    """Upper bound of a clip that starts at zero: infinity for ReLU; None for any other node."""
    if not is_op(node, CLIPS):
        return None
    if node.target is aten.relu.default:
        return float("inf")
    if node.target is aten.relu6.default:
        return 6.0
    low, high = (*node.args[1:3], None, None)[:2]
    if node.target is aten.hardtanh.default:
        low, high = -1.0 if low is None else low, 1.0 if high is None else high
    if not isinstance(low, int | float) or low != 0:
        return None
    return float(high) if isinstance(high, int | float) else float("inf")


def source(node: fx.Node) -> fx.Node:
    """The node that computed the values which reach `node`'s users, behind any views."""
    while is_view(node):
        previous = node.args[0]
        assert isinstance(previous, fx.Node)
        node = previous
    return node


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """Input tensors of an operator; for a concatenation, its members; weights left out."""
    if node.target is aten.cat.default:
        members = node.args[0]
        assert isinstance(members, list | tuple)
        return [member for member in members if isinstance(member, fx.Node)]
    count = 1 if is_op(node, WEIGHTED) else 2
    return [
        arg
        for arg in node.args[:count]
        if isinstance(arg, fx.Node) and isinstance(arg.meta.get("val"), torch.Tensor)
    ]


def layer_name(node: fx.Node) -> str:
    """Name of the module that the operator comes from, `layer1.0.conv1`; else the node's name."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    names = [path for path, _ in stack.values()]
    return names[-1] if names and names[-1] else node.name


def is_non_negative(node: fx.Node) -> bool:
    """Whether the values of a node can never be negative, by the operators that made them."""
    if is_view(node):
        return all(is_non_negative(n) for n in node.args[:1] if isinstance(n, fx.Node))
    if clip_max(node) is not None or is_op(node, {aten.sigmoid.default, aten.hardsigmoid.default}):
        return True
    if is_op(node, INTEGER):
        inputs = tensor_inputs(node)
        alpha = node.kwargs.get("alpha", 1)  # of an addition; a subtraction has -1
        if not isinstance(alpha, int | float) or alpha < 0:
            return False
        arity = 2 if node.target in (aten.add.Tensor, aten.mul.Tensor) else 1
        return len(inputs) >= arity and all(is_non_negative(n) for n in inputs)
    return False
