"""Sums of 8-bit products that saturate: on x86 processors without VNNI, unless told otherwise.

There ONNX Runtime's default kernels add pairs of u8 x s8 products in int16 (onnxruntime#6004):
255 * 127 * 2 does not fit, and a layer computes something else than its file says. The session
option `session.x64quantprecision` shifts weights to uint8, whose kernels are exact and slower.
"""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper

from qatexp.machine.processor import cpu_description, flags_of

PRECISE_OPTION = ("session.x64quantprecision", "1")
"""Session configuration entry, and its value, with which sums are exact on all processors."""
SAFE_CODE = 64
"""Largest magnitude of a weight's code whose pairs of products with uint8 fit into int16."""
SAFE_ACTIVATION = 127
"""Largest uint8 code of an activation whose pairs of products with int8 weights fit."""
_VNNI = {"avx512_vnni", "avx_vnni"}


@cache
def processor_saturates() -> bool:
    """Whether this is an x86 processor without VNNI, as far as the system tells."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return False
    description = cpu_description()
    return description is None or lacks_vnni(description)


def lacks_vnni(description: dict[str, str]) -> bool:
    """Whether the processor of this description, as Linux gives it, multiplies in int16."""
    return not _VNNI & flags_of(description)


def can_saturate(model: onnx.ModelProto) -> bool:
    """Whether a file holds activations and weights whose pairs of products overflow int16."""
    constants = {item.name: item for item in model.graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    return _has_wide_activations(model, constants) and _has_wide_weights(model, constants)


def _has_wide_weights(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> bool:
    weights = (
        constants[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    )
    return any(
        int(np.abs(numpy_helper.to_array(item).astype(np.int16)).max(initial=0)) > SAFE_CODE
        for item in weights
        if item.data_type == onnx.TensorProto.INT8 and len(item.dims) > 1
    )


def _has_wide_activations(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> bool:
    clipped = {
        node.input[0]: int(numpy_helper.to_array(constants[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "Clip" and len(node.input) > 2 and node.input[2] in constants
    }
    return any(
        clipped.get(node.output[0], 255) > SAFE_ACTIVATION
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and _is_unsigned(node, constants)
    )


def _is_unsigned(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    # Without a zero point, codes are uint8.
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    return zero_point is None or zero_point.data_type == onnx.TensorProto.UINT8
