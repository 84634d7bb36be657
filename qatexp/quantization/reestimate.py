"""Find batch-norm statistics anew after training, with weights and ranges as they are now.

The moving averages of training lag behind weights that still changed, and oscillating weights
disturb them. Folding keeps the integer codes whatever the statistics are, so this is free.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx

from qatexp.quantization.batch_norm import BatchNorm


def reestimate_batch_norm_(graph_module: fx.GraphModule, batches: Iterable[Tensor]) -> None:
    """Replace all running statistics by the plain average over these batches.

    Args:
        graph_module: prepared model; it ends in eval mode.
        batches: normalized training images (N, C, H, W).
    """
    graph_module.eval()
    modules = [item for item in graph_module.modules() if isinstance(item, BatchNorm)]
    kept = [(item, item.momentum, item.frozen) for item in modules]
    with torch.no_grad():
        for count, images in enumerate(batches, start=1):
            for item in modules:
                item.train()
                item.frozen, item.momentum = False, 1.0 / count
            graph_module(images)
    for item, momentum, frozen in kept:
        item.momentum, item.frozen = momentum, frozen
    graph_module.eval()
