"""Operators that the runtime computes in float, one at a time, by its own kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from qatexp.runtimes.reference.graph import Array, attributes
from qatexp.runtimes.sessions import open_session, run_session

_VIEWS = {
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_ELEMENTWISE = {
    "Add",
    "Clip",
    "Div",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mul",
    "Relu",
    "Sigmoid",
    "Sub",
}


def is_exact(node: onnx.NodeProto) -> bool:
    """Whether the fused graph gives the same values, to the last bit, as the operator alone.

    True of operators that choose or move values, and of those that compute each element by itself:
    on codes or on values, in any order, fused or not. Sums in float depend on their order.
    """
    if node.op_type == "Resize":
        return bool(attributes(node).get("mode", b"nearest") == b"nearest")
    return node.op_type in _VIEWS | _ELEMENTWISE


def evaluate(
    node: onnx.NodeProto, values: Mapping[str, Tensor], constants: Mapping[str, Array], opset: int
) -> dict[str, Tensor]:
    """Run one node in ONNX Runtime, alone.

    Args:
        node: the operator.
        values: its computed inputs by name.
        constants: its constant inputs, and others.
        opset: version of ONNX's operators.

    Raises:
        ExportError: the runtime refuses the operator.
    """
    feed: dict[str, Any] = {name: value.contiguous().numpy() for name, value in values.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
        for name, value in feed.items()
    ]
    fixed = [
        numpy_helper.from_array(constants[name], name) for name in node.input if name in constants
    ]
    # The runtime infers the types of outputs.
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "one", inputs, outputs, fixed)
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model_gen_version(graph, opset_imports=versions)
    path = Path(node.op_type)
    session = open_session(
        path, threads=torch.get_num_threads(), optimize=False, content=model.SerializeToString()
    )
    results = run_session(session, feed, path)
    return {n: torch.from_numpy(r) for n, r in zip(node.output, results, strict=True)}
