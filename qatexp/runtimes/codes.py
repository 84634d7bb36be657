"""Names of the quantized tensors in an ONNX file: q0, q1, ... in the order of the graph.

A quantized tensor is what a QuantizeLinear writes, or the integer Clip behind it where its range is
narrower than its type. The converted model has one `quantize_per_tensor` for each, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import onnx_ir as ir

_NAME = re.compile(r"q\d+")


def name_codes_(graph: ir.Graph) -> None:
    """Name the quantized tensors of an exported graph, in place."""
    quantizers = (node for node in graph if node.op_type == "QuantizeLinear")
    for index, node in enumerate(quantizers):
        value = node.outputs[0]
        users = [usage.node for usage in value.uses()]
        if len(users) == 1 and users[0].op_type == "Clip":
            value = users[0].outputs[0]
        value.name = f"q{index}"


def code_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the quantized tensors of a file, q0 first."""
    kinds = {"QuantizeLinear", "Clip"}
    written = (name for node in model.graph.node if node.op_type in kinds for name in node.output)
    return tuple(name for name in written if _NAME.fullmatch(name))


def quantized_names(path: Path) -> tuple[str, ...]:
    """Names of the quantized tensors of an exported file, q0 first; none where it is in float.

    As many as the converted model has `quantize_per_tensor` nodes, and in their order: tensor k
    there is tensor k here. Whoever matches them by position checks that the numbers agree.
    """
    return code_names(onnx.load(path, load_external_data=False))
