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


class FloatOperator:
    """One node as a call, through a session of its own."""

    def __init__(self, node: onnx.NodeProto, constants: Mapping[str, Array], opset: int) -> None:
        self._node, self._constants, self._opset = node, constants, opset
        self._path = Path(node.op_type)  # what an error names
        self._session: Any = None

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, from computed inputs by name.

        Raises:
            ExportError: the runtime refuses the operator.
        """
        feed: dict[str, Any] = {name: value.contiguous().numpy() for name, value in values.items()}
        if self._session is None:
            types = {name: value.dtype for name, value in feed.items()}
            threads, content = torch.get_num_threads(), self._model(types)
            self._session = open_session(
                self._path, threads=threads, optimize=False, content=content
            )
        results = run_session(self._session, feed, self._path)
        pairs = zip(self._node.output, results, strict=True)
        return {name: torch.from_numpy(result) for name, result in pairs}

    def _model(self, types: Mapping[str, Any]) -> bytes:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)
            for name, dtype in types.items()
        ]
        # The runtime infers the types of outputs.
        outputs = [onnx.ValueInfoProto(name=name) for name in self._node.output]
        names = [name for name in self._node.input if name in self._constants]
        fixed = [numpy_helper.from_array(self._constants[name], name) for name in names]
        graph = helper.make_graph([self._node], "one", inputs, outputs, fixed)
        versions = [helper.make_opsetid("", self._opset)]
        model = helper.make_model_gen_version(graph, opset_imports=versions)
        content: bytes = model.SerializeToString()
        return content
