"""Fine-tuning with quantization in the loop, from the calibrated PTQ model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import fx, nn

from qatexp.quantization.graph_ops import copied
from qatexp.quantization.prepare import PreparedModel
from qatexp.stages.context import OSCILLATION, Context, load_history
from qatexp.stages.train import restore, train_stage, training_parts


@dataclass(frozen=True)
class Trained:
    """The trained graph on the run's device, in eval mode.

    `oscillation` is the share (0..1) of each layer's weights that changed their code in one step
    of the last epoch.
    """

    graph_module: fx.GraphModule
    oscillation: dict[str, float]


def qat(context: Context, prepared: PreparedModel, networks: Mapping[str, nn.Module]) -> Trained:
    """Train a copy of the calibrated graph; the PTQ model stays as it is.

    Args:
        context: the run.
        prepared: calibrated graph.
        networks: FP32 networks by name (fp32, control) that can be the teacher.
    """
    with context.stage("qat", cacheable=True):
        model, reestimate = copied(prepared.graph_module), context.config.schedule.qat.reestimate_bn
        context.data.tell_of_few(reestimate, key="schedule.qat.reestimate_bn")
        parts = training_parts(context.config, context.data, "qat")
        parts["from"] = context.fingerprints["ptq"]
        distill = context.config.schedule.qat.distill
        teacher = networks[distill.teacher.name] if distill.weight > 0 else None
        if teacher is not None:
            parts["teacher"] = context.fingerprints[distill.teacher.name]

        def make(folder: Path) -> None:
            train_stage(context, "qat", model, folder, parts=parts, teacher=teacher)

        folder = context.entry("qat", parts, make)
        context.add_history("qat", load_history(folder))
        restored = restore(model, folder, context.device)
        oscillation = json.loads((folder / OSCILLATION).read_text(encoding="utf-8"))
    assert isinstance(restored, fx.GraphModule)
    return Trained(restored, oscillation)
