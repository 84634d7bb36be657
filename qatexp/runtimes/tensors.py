"""The integer codes that ONNX Runtime computes inside a file, tensor by tensor."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from qatexp.runtimes.codes import code_names
from qatexp.runtimes.onnx_file import INPUT
from qatexp.runtimes.sessions import PLUMBING, open_session, run_session

log = logging.getLogger(__name__)


def quantized_tensors(
    path: Path, images: Tensor, *, optimize: bool, threads: int = 1
) -> dict[str, np.ndarray[Any, Any]]:
    """Run a file and also return its quantized tensors; the file itself stays as it is.

    Args:
        path: an exported ONNX file.
        images: images (N, C, H, W), float32.
        optimize: let the runtime fuse. A tensor whose exposure would change a fusion is left out,
            and a warning names it.
        threads: threads within one operator.

    Returns:
        Codes, uint8 or int8, under the names of `codes.quantized_names`, and the logits.

    Raises:
        ExportError: the runtime refuses the file or the images.
    """
    model = onnx.load(path)
    names = code_names(model)
    if optimize:
        names = _harmless(model, names, path)
    session = open_session(path, threads=threads, optimize=optimize, content=_exposed(model, names))
    outputs = [item.name for item in session.get_outputs()]
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else len(images)
    portions = (portion.cpu().numpy() for portion in torch.split(images, size))
    results = [run_session(session, {INPUT: portion}, path) for portion in portions]
    return {
        name: np.concatenate(parts) if len(parts) > 1 else parts[0]
        for name, *parts in zip(outputs, *results, strict=True)
    }


def _harmless(model: onnx.ModelProto, names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Those that leave the runtime's choice of kernels alone when they are outputs."""
    plain = _kernels(model, (), path)
    if _kernels(model, names, path) == plain:
        return names
    found = tuple(name for name in names if _kernels(model, (name,), path) == plain)
    if _kernels(model, found, path) != plain:
        found = ()  # tensors that are harmless alone are not so together
    left_out = ", ".join(name for name in names if name not in found)
    log.warning(
        "%s: left out of the tensors, as reading them changes what ONNX Runtime fuses: %s",
        path.name,
        left_out,
    )
    return found


def _kernels(model: onnx.ModelProto, names: Iterable[str], path: Path) -> Counter[str]:
    """How often each operator that computes is in the runtime's optimized graph.

    The memory layout may differ (MaxPool, NhwcMaxPool): the arithmetic is the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimized.onnx"
        open_session(path, threads=1, content=_exposed(model, names), save_optimized=saved)
        graph = onnx.load(saved).graph
    kinds = (node.op_type.removeprefix("Nhwc") for node in graph.node)
    return Counter(kind for kind in kinds if kind not in PLUMBING)


def _exposed(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """The model, serialized, with inner tensors as further outputs; the runtime infers types."""
    changed = copy.deepcopy(model)
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    content: bytes = changed.SerializeToString()
    return content
