"""ONNX Runtime on the CPU: export, load as `images -> logits`, and tell what ran in integers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from qatexp.config.schema import ExportConfig
from qatexp.errors import ExportError
from qatexp.runtimes.onnx_file import INPUT, write_onnx
from qatexp.runtimes.packing import packing_warnings

SUFFIX = ".onnx"

_PLUMBING = {
    "QuantizeLinear",
    "DequantizeLinear",
    "Reshape",
    "Flatten",
    "Transpose",
    "ReorderInput",
    "ReorderOutput",
    "Shape",
    "Gather",
    "Concat",
    "Unsqueeze",
    "Squeeze",
    "Constant",
    "Identity",
    "Slice",
    "Split",
    "Pad",
    "Clip",
    "Expand",
    "Cast",
}
"""Operators that convert or move values; they compute nothing that could be in integers."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the runtime executed, after its own graph optimization."""

    macs_int_share: float
    ops_int: dict[str, int]
    ops_float: dict[str, int]


def export(model: nn.Module, example: Tensor, path: Path, config: ExportConfig) -> None:
    """Write a network or a converted graph as an ONNX file; see `write_onnx` for the errors."""
    write_onnx(model, example, path, config)


def export_warnings(model: nn.Module, config: ExportConfig) -> Iterator[str]:
    """What the file of a converted model will not have, and how to get it."""
    return packing_warnings(model, config)


def load(path: Path, *, threads: int, optimize: bool = True) -> Callable[[Tensor], Tensor]:
    """Open a file as a callable from images (N, C, H, W), float32, to logits (N, classes).

    Args:
        path: an ONNX file.
        threads: threads within one operator.
        optimize: let the runtime fuse; off, it follows the file operator by operator.

    Raises:
        ExportError: the runtime refuses the file. The callable raises it for images that the file
            does not take.
    """
    session = _session(path, threads=threads, optimize=optimize)
    fixed = session.get_inputs()[0].shape[0]

    def predict(images: Tensor) -> Tensor:
        # A file whose batch is fixed takes the images in portions of it.
        size = fixed if isinstance(fixed, int) else len(images)
        portions = torch.split(images.cpu(), size)
        logits = [_run(session, {INPUT: portion.numpy()}, path)[0] for portion in portions]
        return torch.from_numpy(np.concatenate(logits) if len(logits) > 1 else logits[0])

    return predict


def caller(path: Path, images: Tensor, *, threads: int) -> Callable[[], object]:
    """Open a file as a call without arguments on fixed images, with nothing else to time.

    Raises:
        ExportError: the runtime refuses the file, or, when called, the images.
    """
    session = _session(path, threads=threads)
    feed = {INPUT: np.ascontiguousarray(images.cpu().numpy())}
    return lambda: _run(session, feed, path)


def describe(path: Path, example: Tensor) -> Description:
    """Run the file once under the runtime's profiler and sort what ran by its arithmetic.

    Args:
        path: an ONNX file.
        example: one or more images (N, C, H, W).

    Raises:
        ExportError: the runtime refuses the file, or fails to run it on these images.
    """
    events = _profile(path, example)
    ops_int, ops_float = Counter[str](), Counter[str]()
    macs_int = macs_all = 0
    for event in events:
        kind, macs = event["op_name"], _macs(event)
        integer = _computes_in_integers(event)
        macs_all += macs
        macs_int += macs if integer else 0
        if kind not in _PLUMBING:
            (ops_int if integer else ops_float)[kind] += 1
    share = macs_int / macs_all if macs_all else 0.0
    return Description(share, dict(sorted(ops_int.items())), dict(sorted(ops_float.items())))


def stored_bytes(path: Path) -> int:
    """Size of the file on disk."""
    return path.stat().st_size


def _session(
    path: Path, *, threads: int, optimize: bool = True, profile: Path | None = None
) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without it, signed activations (qconfig.backend=xnnpack) stay in float on x86.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.log_severity_level = 3  # the runtime's warnings speak to its own developers
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    skipped: list[str] = []
    if profile is not None:
        # It pads the channels of float convolutions to the processor's vectors, and MACs with them.
        skipped = ["NchwcTransformer"]
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
        # Weights that were packed for a kernel have lost their shape, and MACs need it.
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=skipped or None,
        )
    except Exception as problem:  # the runtime's classes share no public base
        raise ExportError(f"ONNX Runtime refuses {path.name}: {_reason(problem)}") from problem


def _run(session: Any, feed: dict[str, Any], path: Path) -> list[Any]:
    try:
        results: list[Any] = session.run(None, feed)
    except Exception as problem:  # the runtime's classes share no public base
        shapes = ", ".join(str(list(value.shape)) for value in feed.values())
        raise ExportError(
            f"ONNX Runtime cannot run {path.name} on images {shapes}: {_reason(problem)}"
        ) from problem
    return results


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def _profile(path: Path, example: Tensor) -> list[dict[str, Any]]:
    """Arguments of every executed operator: type, input and output element types and shapes."""
    with tempfile.TemporaryDirectory() as folder:
        session = _session(path, threads=1, profile=Path(folder) / "profile")
        _run(session, {INPUT: example.cpu().numpy()}, path)
        trace = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        event["args"]
        for event in trace
        if event.get("cat") == "Node" and "output_type_shape" in event["args"]
    ]


def _computes_in_integers(event: dict[str, Any]) -> bool:
    """Whether the first array that an operator read holds 8-bit integers (scales are scalars)."""
    arrays = (item for item in event["input_type_shape"] if any(item.values()))
    return next(iter(next(arrays, {"none": []}))) in ("uint8", "int8")


def _macs(event: dict[str, Any]) -> int:
    """Multiply-accumulates of an executed convolution or matrix product, else 0."""
    kind, inputs = event["op_name"], event["input_type_shape"]
    outputs = [int(size) for size in next(iter(event["output_type_shape"][0].values()))]
    shapes = [[int(size) for size in next(iter(item.values()))] for item in inputs]
    if "Conv" in kind:
        # Past the data input, the weight is the first tensor with a kernel's rank.
        weight = next(shape for shape in shapes[1:] if len(shape) >= 3)
        return prod(outputs) * prod(weight[1:])
    if "Gemm" in kind or "MatMul" in kind:
        return prod(outputs) * shapes[0][-1]
    return 0
