"""An exported QDQ graph as the reference reads it: constants, readers, what feeds a quantizer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

from qatexp.runtimes.codes import code_names

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Graph:
    """Nodes of a file in the order in which they run, and its constants by name."""

    model: onnx.ModelProto
    constants: dict[str, Array]
    names: tuple[str, ...]
    """Of the quantized tensors."""

    @cached_property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """Nodes that compute something from the images."""
        return tuple(node for node in self.model.graph.node if node.output[0] not in self.constants)

    @property
    def output(self) -> str:
        """Name of the logits."""
        return str(self.model.graph.output[0].name)

    @property
    def batch(self) -> int | None:
        """Images that the file takes at once, None for any number."""
        shape = self.model.graph.input[0].type.tensor_type.shape
        return int(shape.dim[0].dim_value) or None

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return next(int(item.version) for item in self.model.opset_import if not item.domain)

    @cached_property
    def readers(self) -> dict[str, tuple[onnx.NodeProto, ...]]:
        """The nodes that read a value, once for every input that does."""
        found = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def quantizer_of(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The QuantizeLinear that alone reads a node's result, None where there is no such."""
        readers = self.readers.get(node.output[0], ())
        if node.output[0] == self.output:
            return None
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
            return readers[0]
        return None


def read_graph(path: Path) -> Graph:
    """Read an exported file, with its weights unpacked to int8."""
    model = onnx.load(path)
    constants = {item.name: _unpacked(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _unpacked(node.attribute[0].t)
        elif node.op_type == "Cast" and node.input[0] in constants:
            wanted = onnx.helper.tensor_dtype_to_np_dtype(attributes(node)["to"])
            constants[node.output[0]] = constants[node.input[0]].astype(wanted)
        elif node.op_type == "Sub" and constants.keys() >= set(node.input):
            first, second = (constants[name] for name in node.input)
            constants[node.output[0]] = first - second
    return Graph(model, constants, code_names(model))


def _unpacked(tensor: onnx.TensorProto) -> Array:
    values = numpy_helper.to_array(tensor)
    narrow = values.dtype in (ml_dtypes.int4, ml_dtypes.int2)
    # A copy: what lies in the file's own memory cannot be written, and torch warns of it.
    return values.astype(np.int8 if narrow else values.dtype)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
