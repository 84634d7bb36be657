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
import torch
from torch import Tensor, nn

from qatexp.config.schema import ExportConfig
from qatexp.runtimes.onnx_file import INPUT, OUTPUT, write_onnx
from qatexp.runtimes.packing import packing_warnings
from qatexp.runtimes.saturation import PRECISE_OPTION
from qatexp.runtimes.sessions import (
    INTEGER_OPTIONS,
    PLUMBING,
    needs_precision,
    open_session,
    run_session,
)
from qatexp.runtimes.tensors import quantized_tensors

SUFFIX = ".onnx"

__all__ = [
    "INPUT",
    "INTEGER_OPTIONS",
    "OUTPUT",
    "SUFFIX",
    "Description",
    "caller",
    "describe",
    "export",
    "export_warnings",
    "load",
    "quantized_tensors",
    "session_options",
    "stored_bytes",
]


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
    session = open_session(path, threads=threads, optimize=optimize)
    fixed = session.get_inputs()[0].shape[0]

    def predict(images: Tensor) -> Tensor:
        # A file whose batch is fixed takes the images in portions of it.
        size = fixed if isinstance(fixed, int) else len(images)
        portions = torch.split(images.cpu(), size)
        logits = [run_session(session, {INPUT: portion.numpy()}, path)[0] for portion in portions]
        return torch.from_numpy(np.concatenate(logits) if len(logits) > 1 else logits[0])

    return predict


def caller(path: Path, images: Tensor, *, threads: int) -> Callable[[], object]:
    """Open a file as a call without arguments on fixed images, with nothing else to time.

    Raises:
        ExportError: the runtime refuses the file, or, when called, the images.
    """
    session = open_session(path, threads=threads)
    feed = {INPUT: np.ascontiguousarray(images.cpu().numpy())}
    return lambda: run_session(session, feed, path)


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
        if kind not in PLUMBING:
            (ops_int if integer else ops_float)[kind] += 1
    share = macs_int / macs_all if macs_all else 0.0
    return Description(share, dict(sorted(ops_int.items())), dict(sorted(ops_float.items())))


def session_options(path: Path) -> dict[str, str]:
    """Entries of a session's configuration without which this processor computes something else.

    Every session of this module sets them; whoever deploys the file to such a processor has to.
    """
    return dict([PRECISE_OPTION]) if needs_precision(path) else {}


def stored_bytes(path: Path) -> int:
    """Size of the file on disk."""
    return path.stat().st_size


def _profile(path: Path, example: Tensor) -> list[dict[str, Any]]:
    """Arguments of every executed operator: type, input and output element types and shapes."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, threads=1, profile=Path(folder) / "profile")
        run_session(session, {INPUT: example.cpu().numpy()}, path)
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
        # A transposed convolution's (C_in, C_out / groups, ...) spreads every value that it reads.
        return prod(shapes[0] if "Transpose" in kind else outputs) * prod(weight[1:])
    if "Gemm" in kind or "MatMul" in kind:
        return prod(outputs) * shapes[0][-1]
    return 0
