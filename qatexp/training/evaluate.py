"""Accuracy and loss of anything that maps images to logits: a network, a graph, a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures over a whole split; `logits` (images, classes) on the CPU, in the split's order."""

    top1: float
    """Percent."""
    loss: float
    """Mean cross entropy."""
    logits: Tensor

    @property
    def predictions(self) -> Tensor:
        """Predicted class (images,) of every image."""
        return self.logits.argmax(1)


def evaluate(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> Scores:
    """Run `predict` over all batches of normalized images (N, C, H, W) and labels (N).

    A module is switched to eval mode for the time, and back.
    """
    was_training = predict.training if isinstance(predict, nn.Module) else False
    if isinstance(predict, nn.Module):
        predict.eval()
    logits, labels = [], []
    with torch.inference_mode():
        for images, targets in batches:
            logits.append(predict(images).float().cpu())
            labels.append(targets.cpu())
    if isinstance(predict, nn.Module):
        predict.train(was_training)
    all_logits, all_labels = torch.cat(logits), torch.cat(labels)
    correct = int((all_logits.argmax(1) == all_labels).sum())
    loss = float(nn.functional.cross_entropy(all_logits, all_labels))
    return Scores(100.0 * correct / len(all_labels), loss, all_logits)
