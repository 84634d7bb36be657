"""Weights below 8 bits as INT4 and INT2 initializers: the file shrinks, the kernels stay int8.

ONNX Runtime computes in 8-bit integers on CPUs. An INT4 or INT2 initializer with a `Cast` to INT8
before its DequantizeLinear is unpacked once, when the file is loaded, and the convolution runs in
the int8 kernel; read by DequantizeLinear directly, INT4 leaves a float convolution, and INT2 is
not loaded at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from qatexp.config.schema import ExportConfig, Pack
from qatexp.errors import ExportError
from qatexp.runtimes.saturation import SAFE_CODE
from qatexp.runtimes.zero_points import ZERO_POINT_BYTES

OPSET, INT2_OPSET = 21, 25
"""First ONNX operator sets with INT4 and with INT2."""

_CONTAINERS = (
    (1, ir.DataType.INT2, ml_dtypes.int2),
    (7, ir.DataType.INT4, ml_dtypes.int4),
)
"""Largest code of a narrow range, and the narrowest type that holds it; 3 bits take 4."""
_CAST_BYTES = 60
"""A Cast node with its names; of a ResNet-20, whose names are as long as those of others."""


def choose_opset(model: nn.Module, config: ExportConfig) -> int:
    """The operator set to write: the one asked for, else the lowest that holds the weights.

    Raises:
        ExportError: `export.pack=direct` with 2-bit weights, which no runtime loads.
    """
    two_bits = any(_largest(codes) <= 1 for codes in _weights(model))
    if two_bits and config.pack is Pack.direct:
        raise ExportError(
            "export.pack=direct is not possible with 2-bit weights: ONNX Runtime does not load "
            "INT2 that DequantizeLinear reads; use export.pack=cast, or 3 and more bits."
        )
    if config.opset is not None:
        return config.opset
    return INT2_OPSET if two_bits and config.pack is Pack.cast else OPSET


def weight_bytes(count: int, bits: int, config: ExportConfig) -> int:
    """Bytes that one weight of `count` codes takes in a file, with the nodes that it needs.

    Args:
        count: number of codes.
        bits: of a narrow range that is used up to its ends.
        config: `export.pack`, and the operator set where one is asked for.
    """
    largest = 2 ** (bits - 1) - 1
    opset = INT2_OPSET if config.opset is None else config.opset
    for limit, dtype, _ in _CONTAINERS if config.pack is not Pack.none else ():
        if largest <= limit and _has(dtype, opset):
            overhead = _CAST_BYTES if config.pack is Pack.cast else 0
            return math.ceil(count * int(dtype.bitwidth) / 8) + overhead
    return count + (ZERO_POINT_BYTES if largest > SAFE_CODE else 0)


def packing_warnings(model: nn.Module, config: ExportConfig) -> Iterator[str]:
    """What the configuration makes of a converted model's narrow weights, where that costs."""
    widest = [_largest(codes) for codes in _weights(model)]
    if config.pack is Pack.direct and any(largest <= 7 for largest in widest):
        yield (
            "export.pack=direct: ONNX Runtime computes layers with 4-bit weights in float; "
            "export.pack=cast keeps them in integers"
        )
    too_old = config.opset is not None and config.opset < INT2_OPSET
    if config.pack is Pack.cast and too_old and any(largest <= 1 for largest in widest):
        yield (
            f"export.opset={config.opset} has no INT2: 2-bit weights are stored in 4 bits; "
            f"export.opset={INT2_OPSET} or null stores them in 2"
        )


def _weights(model: nn.Module) -> Iterator[Tensor]:
    """Integer codes of a converted model's weights."""
    tensors = (*model.parameters(), *model.buffers())
    return (item for item in tensors if item.dtype == torch.int8 and item.dim() >= 2)


def _largest(codes: Tensor) -> int:
    return int(codes.to(torch.int16).abs().max()) if codes.numel() else 0


def pack_(model: ir.Model, pack: Pack, *, opset: int) -> None:
    """Store int8 weights in the narrowest container that holds their codes, in place.

    Args:
        model: exported model with int8 initializers before DequantizeLinear.
        pack: cast, direct or none.
        opset: operator set of the file; below 25 there is no INT2, and INT4 takes its place.
    """
    if pack is Pack.none:
        return
    graph = model.graph
    for node in list(graph):
        if node.op_type != "DequantizeLinear":
            continue
        weight = node.inputs[0]
        narrow = _narrowed(weight, opset=opset)
        if weight is None or narrow is None:
            continue
        packed = ir.Value(
            name=weight.name,
            shape=weight.shape,
            type=ir.TensorType(narrow.dtype),
            const_value=narrow,
        )
        graph.initializers.pop(str(weight.name))
        graph.register_initializer(packed)
        if pack is Pack.direct:
            node.replace_input_with(0, packed)
            _drop_zero_point_(node)
            continue
        cast = ir.node("Cast", [packed], {"to": int(ir.DataType.INT8)})
        cast.outputs[0].name = f"{weight.name}_int8"
        graph.insert_before(node, cast)
        cast.name = None  # the graph names what it takes in
        node.replace_input_with(0, cast.outputs[0])


def _narrowed(weight: ir.Value | None, *, opset: int) -> ir.Tensor | None:
    """The weight's codes in a narrower container, None where it is no weight or needs 8 bits."""
    constant = None if weight is None or weight.is_graph_input() else weight.const_value
    if constant is None or constant.dtype != ir.DataType.INT8 or len(constant.shape) < 2:
        return None
    codes = constant.numpy()
    largest = int(np.abs(codes.astype(np.int16)).max(initial=0))
    for limit, dtype, element in _CONTAINERS:
        if largest <= limit and _has(dtype, opset):
            return ir.Tensor(codes.astype(element), dtype=dtype, name=constant.name)
    return None


def _has(dtype: ir.DataType, opset: int) -> bool:
    return opset >= INT2_OPSET or dtype is not ir.DataType.INT2


def _drop_zero_point_(node: ir.Node) -> None:
    """A zero point has the type of the codes; all are zero, which is also the default."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        node.replace_input_with(2, None)
        node.resize_inputs(2)
