"""Post-training quantization: insert quantizers and find their ranges, without training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from qatexp.config.parse import plain_config
from qatexp.quantization.prepare import PreparedModel, prepare_captured_
from qatexp.stages.calibration import calibrate_on_
from qatexp.stages.captures import captured
from qatexp.stages.code import code_of
from qatexp.stages.context import Context, load_weights_, save_weights


def ptq(context: Context, baseline: nn.Module) -> PreparedModel:
    """Prepare and calibrate the baseline; the result is what QAT starts from.

    Returns:
        The prepared graph on the run's device, in eval mode, with the plan of its quantizers.
    """
    config, data = context.config, context.data
    with context.stage("ptq", cacheable=True):
        data.tell_of_few(config.qconfig.calibration.batches, key="qconfig.calibration.batches")
        prepared = prepare_captured_(captured(context, baseline), config.qconfig)
        graph_module = prepared.graph_module.to(context.device)
        parts = {
            "code": code_of("quantization", "stages.ptq", "stages.captures", "stages.calibration"),
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
