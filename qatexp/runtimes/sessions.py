"""Sessions of ONNX Runtime on the CPU, and its errors as this package's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError

from qatexp.errors import ExportError
from qatexp.runtimes.saturation import PRECISE_OPTION, can_saturate, processor_saturates

PLUMBING = {
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
INTEGER_OPTIONS = {"session.qdqisint8allowed": "1"}
"""Without it, signed activations (qconfig.backend=xnnpack) stay in float on x86."""


def open_session(
    path: Path,
    *,
    threads: int,
    optimize: bool = True,
    profile: Path | None = None,
    content: bytes | None = None,
    save_optimized: Path | None = None,
) -> Any:
    """Open a file for running.

    Args:
        path: an ONNX file.
        threads: threads within one operator.
        optimize: let the runtime fuse; off, it follows the file operator by operator.
        profile: prefix of the trace to write, None for none.
        content: a serialized model in the place of the file's own, which `path` then only names.
        save_optimized: where to write the graph that the runtime made of it, None for nowhere.

    Raises:
        ExportError: the runtime refuses the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for entry in INTEGER_OPTIONS.items():
        options.add_session_config_entry(*entry)
    if needs_precision(path if content is None else content):
        options.add_session_config_entry(*PRECISE_OPTION)
    options.log_severity_level = 3  # the runtime's warnings speak to its own developers
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_optimized is not None:
        options.optimized_model_filepath = str(save_optimized)
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
            str(path) if content is None else content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=skipped or None,
        )
    except Exception as problem:  # the runtime's classes share no public base
        raise ExportError(f"ONNX Runtime refuses {path.name}: {_reason(problem)}") from problem


def needs_precision(file: Path | bytes) -> bool:
    """Whether this processor's default kernels could compute something else than a file says."""
    if not processor_saturates():
        return False
    try:
        model = onnx.load_from_string(file) if isinstance(file, bytes) else onnx.load(file)
    except (OSError, DecodeError):
        return False  # the session itself says what is wrong with the file
    return can_saturate(model)


def run_session(session: Any, feed: dict[str, Any], path: Path) -> list[Any]:
    """All outputs of a session for these inputs.

    Raises:
        ExportError: the runtime cannot run the file on them.
    """
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
