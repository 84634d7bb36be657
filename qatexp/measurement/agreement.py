"""Agreement of two forms of one model: predictions, integer codes, and where they part first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qatexp.records import Agreement

Pairs = Sequence[tuple[str, Tensor, Tensor]]
"""Name and codes of both forms for each quantized tensor, in order of execution."""


def agreement(logits: tuple[Tensor, Tensor], tensors: Pairs) -> Agreement:
    """Compare two forms of one model on the same images.

    Args:
        logits: (N, classes) of both forms.
        tensors: their quantized tensors; empty where those cannot be matched.
    """
    flipped = int((logits[0].argmax(1) != logits[1].argmax(1)).sum())
    # Codes of 8 bits, signed or not, do not overflow in 16.
    apart = [(one.to(torch.int16) - other.to(torch.int16)).abs() for _, one, other in tensors]
    differing = [int((difference > 0).sum()) for difference in apart]
    first = next((name for (name, _, _), n in zip(tensors, differing, strict=True) if n > 0), None)
    return Agreement(
        top1_agreement=1.0 - flipped / len(logits[0]),
        flipped=flipped,
        codes_differ_share=sum(differing) / sum(map(torch.numel, apart)) if apart else None,
        max_output_steps=int(apart[-1].max()) if apart else None,
        first_difference=first,
    )


def matched(named: Sequence[tuple[str, Tensor]], found: Sequence[Tensor]) -> Pairs:
    """Pair the tensors of two forms by position; none where their number or a shape differs."""
    shapes = [tensor.shape for _, tensor in named]
    if shapes != [tensor.shape for tensor in found]:
        return []
    return [(name, one, other) for (name, one), other in zip(named, found, strict=True)]
