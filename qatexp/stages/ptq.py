"""Post-training quantization: insert quantizers and find their ranges, without training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import fx, nn

from qatexp.config.parse import plain_config
from qatexp.quantization.capture import capture
from qatexp.quantization.graph_ops import copied
from qatexp.quantization.prepare import PreparedModel, prepare_captured_
from qatexp.stages.calibration import calibrate_on_
from qatexp.stages.code import code_of
from qatexp.stages.context import Context, load_weights_, save_weights

_captured: dict[str, fx.GraphModule] = {}
"""The baseline of the trial before, as a graph: those of a sweep often share it, and capturing
takes longer than all else that a PTQ from the cache needs. At most one, on the CPU."""


def ptq(context: Context, baseline: nn.Module) -> PreparedModel:
    """Prepare and calibrate the baseline; the result is what QAT starts from.

    Returns:
        The prepared graph on the run's device, in eval mode, with the plan of its quantizers.
    """
    config, data = context.config, context.data
    with context.stage("ptq", cacheable=True):
        prepared = prepare_captured_(_capture(context, baseline), config.qconfig)
        graph_module = prepared.graph_module.to(context.device)
        parts = {
            "code": code_of("quantization", "stages.ptq", "stages.calibration"),
            "from": context.fingerprints["fp32"],
            "data": data.fingerprint,
            "batch_size": config.dataset.batch_size,
            "seed": config.seed,
            "device": context.device.type,
            "threads": torch.get_num_threads(),
            "qconfig": plain_config(config)["qconfig"],
        }

        def make(folder: Path) -> None:
            calibrate_on_(graph_module, config, data)
            save_weights(graph_module, folder)

        load_weights_(graph_module, context.entry("ptq", parts, make))
        graph_module.to(context.device).eval()
    context.warnings.extend(prepared.plan.warnings)
    return prepared


def _capture(context: Context, baseline: nn.Module) -> fx.GraphModule:
    """The baseline as a graph of its own on the CPU; the same one is captured once."""
    key = context.fingerprints["fp32"]
    if key not in _captured:
        _captured.clear()
        _captured[key] = capture(baseline.cpu(), context.data.example().cpu())
        baseline.to(context.device)
    return copied(_captured[key])
