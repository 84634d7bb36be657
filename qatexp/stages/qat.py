"""Fine-tuning with quantization in the loop, from the calibrated PTQ model."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import fx

from qatexp.quantization.prepare import PreparedModel
from qatexp.stages.context import Context, load_history
from qatexp.stages.train import restore, train_stage, training_parts


def qat(context: Context, prepared: PreparedModel) -> fx.GraphModule:
    """Train a copy of the calibrated graph; the PTQ model stays as it is.

    Returns:
        The trained graph on the run's device, in eval mode.
    """
    with context.stage("qat"):
        model = copy.deepcopy(prepared.graph_module)
        parts = training_parts(context.config, context.data, "qat")
        parts["from"] = context.fingerprints["ptq"]

        def make(folder: Path) -> None:
            train_stage(context, "qat", model, folder)

        folder = context.entry("qat", parts, make)
        context.add_history("qat", load_history(folder))
        restored = restore(model, folder, context.device)
    assert isinstance(restored, fx.GraphModule)
    return restored
