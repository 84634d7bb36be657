"""Write a converted model as a self-contained ONNX file with explicit QuantizeLinear nodes."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import opset21 as op
from onnxscript.function_libs.torch_lib.ops.nn import aten_avg_pool2d
from torch import Tensor, nn

from qatexp.config.schema import ExportConfig
from qatexp.errors import ExportError
from qatexp.runtimes.codes import name_codes_
from qatexp.runtimes.packing import choose_opset, pack_
from qatexp.runtimes.zero_points import separate_zero_points_
from qatexp.store.atomic import atomic_path

INPUT, OUTPUT = "images", "logits"
_QUANTIZE_OPS = {"QuantizeLinear", "DequantizeLinear"}
_QUANTIZE_DEFAULTS = {"axis": 1, "block_size": 0, "saturate": 1, "output_dtype": 0, "precision": 0}


def _quantize(  # noqa: PLR0917  ATen's signature, called by position
    x: Any, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int
) -> Any:
    """QuantizeLinear, and an integer Clip where the range is narrower than its type.

    The exporter's own translation drops the range (onnxscript#3052): activations below 8 bits
    would be deployed without their clipping. Integer Clip keeps ONNX Runtime's fusions (QCDQ).
    """
    limits = np.iinfo(_numpy(dtype))
    zero = op.Constant(value=_scalar(zero_point, dtype))
    codes = op.QuantizeLinear(x, op.Constant(value=_scalar(scale, ir.DataType.FLOAT)), zero)
    if (quant_min, quant_max) == (limits.min, limits.max):
        return codes
    bounds = [op.Constant(value=_scalar(bound, dtype)) for bound in (quant_min, quant_max)]
    return op.Clip(codes, *bounds)


def _dequantize(  # noqa: PLR0917  ATen's signature, called by position
    codes: Any,
    scale: float,
    zero_point: int,
    quant_min: int,
    quant_max: int,
    dtype: int,
    **_: Any,
) -> Any:
    del quant_min, quant_max  # the codes are within them already
    zero = op.Constant(value=_scalar(zero_point, dtype))
    return op.DequantizeLinear(codes, op.Constant(value=_scalar(scale, ir.DataType.FLOAT)), zero)


def _dequantize_per_channel(  # noqa: PLR0917  ATen's signature, called by position
    codes: Any,
    scales: Any,
    zero_points: Any,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: int,
    **_: Any,
) -> Any:
    del quant_min, quant_max, dtype  # the codes are within their range, and have their type
    # All zero points are zero, ONNX's default. ONNX Runtime makes a convolution integer without
    # them, but a matrix product only with them.
    if len(codes.shape) > 2:
        return op.DequantizeLinear(codes, scales, axis=axis)
    return op.DequantizeLinear(codes, scales, op.CastLike(zero_points, codes), axis=axis)


def _adaptive_average_pool(x: Any, output_size: Any) -> Any:
    """Pools with integer kernels; the exporter's ReduceMean and decompositions have none."""
    sizes, wanted = list(x.shape)[2:], list(output_size)
    if wanted == [1, 1]:
        return op.GlobalAveragePool(x)
    if wanted == sizes:
        return op.Identity(x)
    pairs = list(zip(sizes, wanted, strict=True))
    if all(a % b == 0 for a, b in pairs):
        ratio = [a // b for a, b in pairs]
        return op.AveragePool(x, kernel_shape=ratio, strides=ratio)
    if all(b % a == 0 for a, b in pairs):
        # Every window holds one value, as in AlexNet and VGG on small images.
        scales = np.array([1, 1, *(b / a for a, b in pairs)], np.float32)
        constant = op.Constant(value=onnx.numpy_helper.from_array(scales))
        repeat = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return op.Resize(x, None, constant, mode="nearest", **repeat)
    raise ExportError(
        f"adaptive_avg_pool2d to {wanted} from {sizes} is not exported: "
        "the output size has to divide the input size, or the input size the output size"
    )


def _average_pool(  # noqa: PLR0917  ATen's signature, called by position
    x: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The exporter's own translation, which drops the divisor without a word."""
    if divisor_override is not None:
        raise ExportError(
            f"avg_pool2d with divisor_override={divisor_override} is not exported, as ONNX has no "
            "such pool: multiply the result of a plain avg_pool2d by a constant instead"
        )
    return aten_avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _scalar(value: float, dtype: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(value, _numpy(dtype)))


def _numpy(dtype: int) -> np.dtype[Any]:
    """The exporter hands dtypes over as ONNX's element types."""
    found: np.dtype[Any] = ir.DataType(dtype).numpy()
    return found


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    # The operators are registered when torchao's decomposed library is imported.
    import torch.ao.quantization.fx._decomposed

    decomposed = torch.ops.quantized_decomposed
    return {
        decomposed.quantize_per_tensor.default: _quantize,
        decomposed.dequantize_per_tensor.default: _dequantize,
        decomposed.dequantize_per_channel.default: _dequantize_per_channel,
        torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_average_pool,
        torch.ops.aten.avg_pool2d.default: _average_pool,
    }


def write_onnx(model: nn.Module, example: Tensor, path: Path, config: ExportConfig) -> None:
    """Export a model in eval mode to `path`, atomically.

    Args:
        model: FP32 network or converted graph, on the CPU.
        example: normalized images (N >= 2, C, H, W) on the CPU.
        path: the file to write; its folder exists.
        config: operator set, whether the batch size stays free (else it is 1), and how weights of
            few bits are stored.

    Raises:
        ExportError: the exporter or ONNX's checker refuses the model, or its weights cannot be
            stored as asked for.
    """
    opset = choose_opset(model, config)
    example = example if config.dynamic_batch else example[:1]
    shapes = ({0: torch.export.Dim("batch", min=1)},) if config.dynamic_batch else None
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=shapes,
                input_names=[INPUT],
                output_names=[OUTPUT],
                custom_translation_table=_translations(),
                verbose=False,
            )
        assert program is not None
        _strip_(program.model)
        pack_(program.model, config.pack, opset=opset)
        separate_zero_points_(program.model)
        _drop_unused_(program.model.graph)
        proto = ir.to_proto(program.model)
        del proto.graph.value_info[:]
        onnx.checker.check_model(proto, full_check=True)
    except Exception as problem:  # the exporter raises many unrelated classes
        raise ExportError(
            f"ONNX export to {path.name} failed: {_root_reason(problem)}"
        ) from problem
    with atomic_path(path) as temporary:
        onnx.save(proto, str(temporary))


def _root_reason(problem: BaseException) -> str:
    """First line of the innermost exception: the outer ones are pages of advice."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


def _strip_(model: ir.Model) -> None:
    """Remove what the exporter notes about the Python source: up to a third of a small file."""
    model.metadata_props.clear()
    model.producer_name, model.producer_version, model.doc_string = "qatexp", None, None
    graph = model.graph
    graph.metadata_props.clear()
    graph.doc_string = None
    results = set(graph.outputs)
    for index, node in enumerate(graph):
        node.metadata_props.clear()
        node.doc_string = None
        if node.op_type in _QUANTIZE_OPS:
            node.name = None
            _drop_defaults_(node)
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in results:
                # A runtime infers inner shapes itself, and of inner names only codes' are read.
                value.type, value.shape = None, None
                value.name = f"t{index}" if len(node.outputs) == 1 else value.name
    name_codes_(graph)
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def _drop_defaults_(node: ir.Node) -> None:
    for name, default in _QUANTIZE_DEFAULTS.items():
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.value == default:
            del node.attributes[name]


def _drop_unused_(graph: ir.Graph) -> None:
    """Remove constants that no operator reads any more: runtimes warn of each."""
    results = set(graph.outputs)
    unused = [
        name
        for name, value in graph.initializers.items()
        if not value.uses() and value not in results
    ]
    for name in unused:
        del graph.initializers[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, deprecations and listings of graphs off the terminal."""
    names = ("onnxscript", "torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
