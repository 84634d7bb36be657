"""Capture a model as a graph that can still be trained.

`torch.export` in eval mode, then batch norm and dropout become modules again: they follow
`train()` and `eval()`, keep the model's eps and momentum, and stay out of reach of torchao's
conv-BN rewrite, which resets both and divides by gamma. Capturing in train mode would bake
stochastic depth into the graph as fixed random numbers.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from qatexp.errors import ModelError
from qatexp.quantization.batch_norm import BatchNorm
from qatexp.quantization.graph_ops import attribute_of
from qatexp.quantization.in_place import remove_in_place_

aten = torch.ops.aten

_DROPOUT = {aten.dropout.default, aten.feature_dropout.default}
_PADDED_BY_NAME = {
    aten.conv1d.padding: aten.conv1d.default,
    aten.conv2d.padding: aten.conv2d.default,
}
"""Convolutions that take a word for their padding, and those that take numbers."""
_CONV_DEFAULTS = (None, 1, "valid", 1, 1)
"""Bias, stride, padding, dilation and groups, as the operator has them."""
_GLOBAL_MEAN_DIMS = ([2, 3], [-1, -2], [-2, -1], [3, 2])


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Capture a model, leaving it unchanged, as a trainable graph of aten operators.

    The result has its own copy of all weights, is in eval mode, and keeps the model's names.

    Args:
        model: the network; any mode, any device.
        example: normalized images (N, C, H, W) with N >= 2; the batch stays dynamic.

    Raises:
        ModelError: `torch.export` cannot capture the model, an in-place operator cannot be
            replaced, or a batch norm has no running statistics or no momentum.
    """
    model = copy.deepcopy(model).eval()
    try:
        program = torch.export.export(
            model, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
    except Exception as problem:  # torch.export raises many unrelated classes
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ModelError(
            f"torch.export cannot capture {type(model).__name__}: {reason[0]}. Quantization needs "
            "a graph without data-dependent Python control flow and with a free batch size."
        ) from problem
    exported = program.module()
    # A fresh GraphModule: the exported one refuses train() and eval().
    graph_module = fx.GraphModule(exported, exported.graph)
    _remove_guards_(graph_module)
    remove_in_place_(graph_module.graph)
    graph_module.graph.eliminate_dead_code()  # num_batches_tracked, which no module keeps
    _restore_batch_norm_(graph_module, model)
    _restore_dropout_(graph_module)
    _canonicalize_(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module.eval()


def _remove_guards_(graph_module: fx.GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        is_guard = node.op == "call_module" and node.target == "_guards_fn"
        is_assert = node.op == "call_function" and "_assert" in str(node.target)
        if (is_guard or is_assert) and not node.users:
            graph_module.graph.erase_node(node)


def _restore_batch_norm_(graph_module: fx.GraphModule, model: nn.Module) -> None:
    """Replace batch-norm operators by modules of the original name, sharing their parameters."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not aten.batch_norm.default:
            continue
        x, weight, bias, mean, var, _training, momentum, eps = node.args[:8]
        if mean is None:
            raise ModelError(
                f"batch norm {_layer_of(node)} has no running statistics, so it cannot be folded: "
                "build the model with track_running_stats=True (without, its answer for one image "
                "depends on the others of the batch)."
            )
        path = str(mean.target).rpartition(".")[0]
        owner = model.get_submodule(path)
        if not isinstance(owner, nn.modules.batchnorm._BatchNorm):
            path = f"{node.name}_module"  # its owner calls functional.batch_norm, beside other work
        elif owner.momentum is None:
            # The export writes 0, with which the statistics would never move.
            raise ModelError(
                f"batch norm {path} has momentum=None (a cumulative average), which is not "
                "supported: give it a momentum, 0.1 as a rule."
            )
        if not isinstance(dict(graph_module.named_modules()).get(path), BatchNorm):
            module = BatchNorm(eps=float(eps), momentum=float(momentum))
            module.running_mean, module.running_var = _buffers(mean, var, module)
            module.weight = None if weight is None else attribute_of(weight)
            module.bias = None if bias is None else attribute_of(bias)
            graph_module.set_submodule(path, module)
        _replace_by_module_(node, graph, path, x)


def _layer_of(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else node.name


def _buffers(mean: fx.Node, var: fx.Node, module: nn.Module) -> tuple[Tensor, Tensor]:
    values = attribute_of(mean), attribute_of(var)
    module.register_buffer("running_mean", values[0])
    module.register_buffer("running_var", values[1])
    return values


def _restore_dropout_(graph_module: fx.GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or node.target not in _DROPOUT:
            continue
        path = f"{node.name}_module"
        probability = float(node.args[1])
        whole_channels = node.target is aten.feature_dropout.default
        graph_module.add_submodule(
            path, nn.Dropout2d(probability) if whole_channels else nn.Dropout(probability)
        )
        _replace_by_module_(node, graph_module.graph, path, node.args[0])


def _replace_by_module_(node: fx.Node, graph: fx.Graph, path: str, x: Any) -> None:
    with graph.inserting_before(node):
        call = graph.call_module(path, (x,))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)


def _canonicalize_(graph_module: fx.GraphModule) -> None:
    """Write one meaning in one way, so that the annotation need not know every spelling."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in (operator.add, operator.iadd) and _all_tensors(node):
            node.target = aten.add.Tensor
        elif node.target is aten.mean.dim and list(node.args[1]) in _GLOBAL_MEAN_DIMS:
            _mean_to_pool_(graph_module.graph, node)
        elif node.target is aten.adaptive_avg_pool2d.default:
            _simplify_adaptive_pool_(graph_module.graph, node)
        elif node.target in _PADDED_BY_NAME:
            _spell_out_padding_(graph_module.graph, node)


def _spell_out_padding_(graph: fx.Graph, node: fx.Node) -> None:
    """A convolution with padding "same" or "valid" as one with numbers."""
    arguments: tuple[Any, ...] = (*node.args, *_CONV_DEFAULTS[len(node.args) - 2 :])
    x, weight, bias, stride, padding, dilation, groups = arguments
    sizes = list(weight.meta["val"].shape[2:])
    dilations = dilation if isinstance(dilation, list) else [dilation] * len(sizes)
    spans = [d * (k - 1) for d, k in zip(dilations, sizes, strict=True)]
    totals = spans if padding == "same" else [0] * len(sizes)
    before = [total // 2 for total in totals]
    if any(total % 2 for total in totals):
        # An even kernel wants one more at the end; pairs start from the last axis.
        pairs = [[low, total - low] for low, total in zip(before, totals, strict=True)]
        amounts = [amount for pair in reversed(pairs) for amount in pair]
        with graph.inserting_before(node):
            padded = graph.call_function(aten.constant_pad_nd.default, (x, amounts, 0.0))
        padded.meta = dict(x.meta)
        padded.meta["val"] = nn.functional.pad(x.meta["val"], amounts)
        x, before = padded, [0] * len(sizes)
    target: Any = node.target
    node.target = _PADDED_BY_NAME[target]
    node.args = (x, weight, bias, stride, before, dilation, groups)


def _all_tensors(node: fx.Node) -> bool:
    return all(
        isinstance(arg, fx.Node) and isinstance(arg.meta.get("val"), Tensor) for arg in node.args
    )


def _mean_to_pool_(graph: fx.Graph, node: fx.Node) -> None:
    """A mean over height and width is global average pooling, which runtimes have in integers."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    if x.meta["val"].dim() != 4:
        return
    keep_dims = len(node.args) > 2 and bool(node.args[2])
    with graph.inserting_before(node):
        result = graph.call_function(aten.adaptive_avg_pool2d.default, (x, [1, 1]))
        result.meta = dict(node.meta)
        result.meta["val"] = x.meta["val"].mean([2, 3], keepdim=True)
        if not keep_dims:
            result = graph.call_function(aten.flatten.using_ints, (result, 1))
            result.meta = dict(node.meta)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _simplify_adaptive_pool_(graph: fx.Graph, node: fx.Node) -> None:
    """An adaptive pool whose output divides its input is a plain pool, or nothing at all."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    sizes = [int(size) for size in x.meta["val"].shape[-2:]]
    wanted = [int(size) for size in node.args[1]]  # type: ignore[union-attr, arg-type]
    if wanted == sizes:
        node.replace_all_uses_with(x)
        graph.erase_node(node)
    elif wanted != [1, 1] and all(a % b == 0 for a, b in zip(sizes, wanted, strict=True)):
        kernel = [a // b for a, b in zip(sizes, wanted, strict=True)]
        node.target = aten.avg_pool2d.default
        node.args = (x, kernel, kernel)
