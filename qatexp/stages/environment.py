"""Where a run took place: versions, processor, threads, GPU and the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

import torch

from qatexp.machine.processor import cpu_description, flags_of
from qatexp.stages.code import version_of

_PACKAGES = (
    "qatexp",
    "torch",
    "torchvision",
    "torchao",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "lightning-fabric",
    "hydra-core",
    "mlflow",
    "numpy",
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Processor features that decide how fast, and with which saturation, int8 kernels run."""


def environment(device: torch.device) -> dict[str, Any]:
    """Describe this machine and this code, in JSON types."""
    commit, dirty = _git_state()
    return {
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_flags": cpu_flags(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _cpu_model() -> str:
    return (cpu_description() or {}).get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Those of the processor's features that decide how int8 kernels run."""
    present = flags_of(cpu_description() or {})
    return [flag for flag in _FLAGS if flag in present]


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the folder the run was started in, and whether files differ; None without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    result = subprocess.run(  # noqa: S603 fixed arguments, and no shell
        command, capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.strip()
