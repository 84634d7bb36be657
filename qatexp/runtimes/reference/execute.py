"""Run an exported file with the arithmetic of the runtime's optimized integer kernels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from qatexp.errors import ExportError
from qatexp.runtimes.onnx_file import INPUT
from qatexp.runtimes.reference.float_operators import FloatOperator, is_exact
from qatexp.runtimes.reference.fusions import Fused, compute
from qatexp.runtimes.reference.graph import Array, Graph, attributes, read_graph
from qatexp.runtimes.reference.quantized import Codes, Grid, Weight, quantize


@dataclass(frozen=True)
class ReferenceResult:
    """What the reference predicts of the optimized runtime, and where it does not vouch for it."""

    tensors: dict[str, Array]
    """Integer codes by the names of `codes.quantized_names`."""
    logits: Array
    unmodelled: tuple[str, ...]
    """Nodes evaluated in float whose result in the fused graph may differ; all after may too."""


PORTION = 64
"""Images computed at once: tensors of more fall out of the processor's caches."""


@torch.no_grad()
def run(path: Path, images: Tensor) -> ReferenceResult:
    """Interpret an exported file on images (N, C, H, W), float32.

    Args:
        path: an ONNX file written by this package.
        images: any number of them, also where the file's batch is fixed.

    Raises:
        ExportError: the file holds a form that the reference cannot read.
    """
    graph = read_graph(path)
    operators: dict[str, FloatOperator] = {}
    results = [
        _run_portion(graph, operators, portion)
        for portion in torch.split(images.cpu(), graph.batch or PORTION)
    ]
    tensors = {
        name: np.concatenate([result.tensors[name] for result in results])
        for name in results[0].tensors
    }
    logits = np.concatenate([result.logits for result in results])
    return ReferenceResult(tensors, logits, results[0].unmodelled)


def _run_portion(
    graph: Graph, operators: dict[str, FloatOperator], images: Tensor
) -> ReferenceResult:
    execution = _Execution(graph, operators)
    execution.values[INPUT] = images
    for node in graph.nodes:
        execution.step(node)
    logits = execution.as_float(graph.output)
    return ReferenceResult(execution.tensors, logits.numpy(), tuple(execution.unmodelled))


@dataclass
class _Execution:
    """One pass over a graph: what is computed so far."""

    graph: Graph
    operators: dict[str, FloatOperator]
    """Those that were needed in earlier portions, by their first output."""
    codes: dict[str, Codes] = field(default_factory=dict)
    values: dict[str, Codes | Weight | Tensor] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    unmodelled: list[str] = field(default_factory=list)
    waiting: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        readers = self.graph.readers
        self.waiting = Counter({name: len(nodes) for name, nodes in readers.items()})

    def step(self, node: onnx.NodeProto) -> None:
        """Compute the outputs of one node, and forget what nobody reads any more."""
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
        elif node.op_type == "DequantizeLinear":
            self._dequantize(node)
        elif node.input[0] in self.codes:
            self._clip(node)
        else:
            self._compute(node)
        for name in node.input:
            self.waiting[name] -= 1
            if not self.waiting[name]:
                self.values.pop(name, None)
                self.codes.pop(name, None)

    def as_float(self, name: str) -> Tensor:
        """A value in float32."""
        value = self.values[name]
        return value if isinstance(value, Tensor) else value.values()

    def _quantize(self, node: onnx.NodeProto) -> None:
        # The codes of a fused node are there before its quantizer's turn.
        if node.output[0] not in self.codes:
            grid = self._grid(node)
            self._put_codes(node.output[0], quantize(self.as_float(node.input[0]), grid), grid)

    def _put_codes(self, name: str, codes: Tensor, grid: Grid) -> None:
        self.codes[name] = Codes(codes, grid)
        if name in self.graph.names:
            self.tensors[name] = codes.numpy()

    def _clip(self, node: onnx.NodeProto) -> None:
        """The integer Clip of a range narrower than its type (QCDQ)."""
        if node.op_type != "Clip":
            raise ExportError(f"the reference reads no {node.op_type} on integer codes")
        low, high = (int(self.graph.constants[name]) for name in node.input[1:])
        given = self.codes[node.input[0]]
        self._put_codes(node.output[0], given.codes.clamp(low, high), given.grid)

    def _dequantize(self, node: onnx.NodeProto) -> None:
        source, constants = node.input[0], self.graph.constants
        if source in constants:
            axis = attributes(node).get("axis", 1)
            codes = torch.from_numpy(constants[source])
            self.values[node.output[0]] = Weight(codes, constants[node.input[1]], axis)
        else:
            self.values[node.output[0]] = Codes(self.codes[source].codes, self._grid(node))

    def _grid(self, node: onnx.NodeProto) -> Grid:
        scale, zero_point = (self.graph.constants[name] for name in node.input[1:3])
        return Grid(np.float32(scale), int(zero_point), torch.from_numpy(zero_point).dtype)

    def _compute(self, node: onnx.NodeProto) -> None:
        quantizer = self.graph.quantizer_of(node)
        if quantizer is not None:
            grid, constants = self._grid(quantizer), self.graph.constants
            inputs = [self.values.get(name) for name in node.input]
            codes = compute(Fused(node, inputs, constants, grid))
            if codes is not None:
                self._put_codes(quantizer.output[0], codes, grid)
                return
        if not is_exact(node):
            self.unmodelled.append(f"{node.op_type} {node.name}".strip())
        name = node.output[0]
        if name not in self.operators:
            self.operators[name] = FloatOperator(node, self.graph.constants, self.graph.opset)
        given = {name: self.as_float(name) for name in node.input if name in self.values}
        self.values.update(self.operators[name](given))
