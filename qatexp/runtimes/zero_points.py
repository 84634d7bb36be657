"""Zero points of weights, one of its own for each, so that a runtime can shift one weight's codes.

ONNX Runtime's option against saturation (see `saturation`) shifts weights to uint8 and names the
shifted zero point after the first one. A zero point that two weights share makes it fail, and
those that are left out, or equal constants, become one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qatexp.runtimes.saturation import SAFE_CODE

ZERO_POINT_BYTES = 60
"""What one of them takes in a file: two nodes with their names."""


def separate_zero_points_(model: ir.Model) -> None:
    """Give weights with codes beyond `SAFE_CODE` a zero point of their own, in place.

    It is computed from the scales, `Cast(scales - scales)`, and folded when the file is loaded:
    initializers with equal values would be shared again, and take a byte for each channel.
    """
    graph = model.graph
    for index, node in enumerate(graph):
        if node.op_type != "DequantizeLinear" or not _needs_own(node.inputs[0]):
            continue
        scales = node.inputs[1]
        difference = ir.node("Sub", [scales, scales])
        zeros = ir.node("Cast", difference.outputs, {"to": int(ir.DataType.INT8)})
        difference.outputs[0].name, zeros.outputs[0].name = f"d{index}", f"z{index}"
        graph.insert_before(node, [difference, zeros])
        difference.name = zeros.name = None  # the graph names what it takes in
        node.resize_inputs(3)
        node.replace_input_with(2, zeros.outputs[0])


def _needs_own(weight: ir.Value | None) -> bool:
    constant = None if weight is None or weight.is_graph_input() else weight.const_value
    if constant is None or constant.dtype != ir.DataType.INT8 or len(constant.shape) < 2:
        return False
    return int(np.abs(constant.numpy().astype(np.int16)).max(initial=0)) > SAFE_CODE
