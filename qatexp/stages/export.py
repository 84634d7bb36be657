"""Convert and export: from a trained model to the file that will be deployed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import fx, nn

from qatexp.config.parse import plain_config
from qatexp.quantization.convert import convert, fold
from qatexp.runtimes import onnxruntime
from qatexp.stages.code import code_of
from qatexp.stages.context import Context
from qatexp.store.atomic import atomic_path

ARTIFACTS = "artifacts"
LIBRARIES = ("torch", "torchao", "onnx", "onnxscript")
"""Distributions that decide what an exported file looks like."""


def export_fp32(context: Context, name: str, model: nn.Module) -> Path:
    """Export a float network (fp32 or control); returns the file in the run's folder."""
    with context.stage(f"export_{name}", cacheable=True):
        path = _exported(context, name, model.cpu)
        model.to(context.device)  # it may teach QAT
        return path


@dataclass(frozen=True)
class Deployment:
    """A prepared model on its way to a file: every form that it takes."""

    trained: fx.GraphModule
    folded: fx.GraphModule
    converted: fx.GraphModule
    path: Path


def convert_and_export(context: Context, name: str, trained: fx.GraphModule) -> Deployment:
    """Fold batch norm, convert to integers and export a prepared model (ptq or qat)."""
    with context.stage(f"convert_{name}"):
        # Rounding in float32 is exact on the CPU, so conversion happens there.
        folded, report = fold(trained.cpu())
        converted = convert(folded, float_weights=context.config.qconfig.weight.bits is None)
        trained.to(context.device)
    if report.unfolded:
        context.warnings.append(
            f"batch norm that follows no layer stays in float: {', '.join(report.unfolded)}"
        )
    with context.stage(f"export_{name}", cacheable=True):
        for warning in onnxruntime.export_warnings(converted, context.config.export):
            context.warn(warning)
        path = _exported(context, name, lambda: converted)
    return Deployment(trained, folded, converted, path)


def _exported(context: Context, name: str, model: Callable[[], nn.Module]) -> Path:
    """Write the file through the cache, and copy it into the run's folder."""
    file, source = f"{name}{onnxruntime.SUFFIX}", context.fingerprints[name]
    parts = {
        "code": code_of("runtimes", "quantization", "stages.export", libraries=LIBRARIES),
        "from": source,
        "export": plain_config(context.config)["export"],
    }

    def make(folder: Path) -> None:
        example = context.data.example().cpu()
        onnxruntime.export(model(), example, folder / file, context.config.export)

    folder = context.entry(f"export_{name}", parts, make)
    path = context.folder / ARTIFACTS / file
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        shutil.copyfile(folder / file, temporary)
    return path
