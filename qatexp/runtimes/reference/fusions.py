"""Which nodes ONNX Runtime fuses with the quantizers around them, and with what arithmetic.

It makes an operator integer when every input comes out of a DequantizeLinear, one QuantizeLinear
alone reads the result, and all have the same element type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from torch import Tensor

from qatexp.runtimes.reference import kernels
from qatexp.runtimes.reference.graph import Array, attributes
from qatexp.runtimes.reference.quantized import Codes, Grid, Weight


@dataclass(frozen=True)
class Fused:
    """A node between quantized tensors: what it reads, and the grid that it writes to."""

    node: onnx.NodeProto
    inputs: Sequence[Codes | Weight | Tensor | None]
    constants: Mapping[str, Array]
    grid: Grid

    @property
    def codes(self) -> list[Codes] | None:
        """The inputs, None unless all are codes of the output's element type."""
        found = [item for item in self.inputs if isinstance(item, Codes)]
        same = all(item.grid.dtype == self.grid.dtype for item in found)
        return found if same and len(found) == len(self.node.input) else None


def compute(fused: Fused) -> Tensor | None:
    """Codes of the fused integer kernel; None where the runtime has none, or it is not modelled."""
    kernel = _KERNELS.get(fused.node.op_type)
    return None if kernel is None else kernel(fused)


def _conv(fused: Fused) -> Tensor | None:
    given = attributes(fused.node)
    if given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    window = kernels.Window(
        strides=given["strides"],
        padding=_padding(given["pads"]),
        dilations=given["dilations"],
        groups=given.get("group", 1),
    )
    return _layer(fused, window, axis=0)


def _gemm(fused: Fused) -> Tensor | None:
    given = attributes(fused.node)
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(given.get(name, value) != value for name, value in plain.items()):
        return None
    return _layer(fused, None, axis=0 if given.get("transB", 0) else 1)


def _layer(fused: Fused, window: kernels.Window | None, *, axis: int) -> Tensor | None:
    x, weight = fused.inputs[:2]
    if not isinstance(x, Codes) or not isinstance(weight, Weight):
        return None
    if x.grid.dtype != fused.grid.dtype or (weight.scale.ndim and weight.axis != axis):
        return None
    bias = None
    if len(fused.node.input) > 2 and fused.node.input[2]:
        bias = fused.constants.get(fused.node.input[2])
        if bias is None:
            return None
    codes = weight.codes.float()
    if axis == 1:
        codes = codes.T
    return kernels.layer(x, codes, fused.grid, weight_scale=weight.scale, bias=bias, window=window)


def _binary(kernel: Callable[[Codes, Codes, Grid], Tensor]) -> Callable[[Fused], Tensor | None]:
    def compute_binary(fused: Fused) -> Tensor | None:
        codes = fused.codes
        return None if codes is None else kernel(codes[0], codes[1], fused.grid)

    return compute_binary


def _global_average(fused: Fused) -> Tensor | None:
    codes = fused.codes
    return None if codes is None else kernels.global_average(codes[0], fused.grid)


def _average(fused: Fused) -> Tensor | None:
    codes, given = fused.codes, attributes(fused.node)
    plain = {"auto_pad": b"NOTSET", "ceil_mode": 0}
    usual = all(given.get(name, value) == value for name, value in plain.items())
    kernel = given["kernel_shape"]
    if codes is None or not usual or len(kernel) != 2 or set(given.get("dilations", ())) > {1}:
        return None
    return kernels.average(
        codes[0],
        fused.grid,
        kernel=kernel,
        strides=given.get("strides", [1, 1]),
        padding=_padding(given.get("pads", [0, 0, 0, 0])),
        count_padding=bool(given.get("count_include_pad", 0)),
    )


def _padding(pads: Sequence[int]) -> list[int]:
    """ONNX gives the starts of all axes, then the ends; torch both of the last axis first."""
    half = len(pads) // 2
    return [pad for axis in reversed(range(half)) for pad in (pads[axis], pads[axis + half])]


_KERNELS: dict[str, Callable[[Fused], Tensor | None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "Add": _binary(kernels.add),
    "Mul": _binary(kernels.multiply),
    "GlobalAveragePool": _global_average,
    "AveragePool": _average,
}
