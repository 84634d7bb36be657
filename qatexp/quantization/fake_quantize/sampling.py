"""The part of a batch from which the gradient of a range is estimated."""

from __future__ import annotations

import torch
from torch import Tensor

EVERY = 4
"""One image of so many is read: on a CPU, the gradient of the scale would otherwise cost more than
all the rest of fake quantization."""
FEWEST = 4
"""Images that are read at least, as far as the batch has them."""


def sample(x: Tensor) -> tuple[slice, int]:
    """Every n-th image of a batch from a random start, and the weight n of their sum.

    Each image is drawn with probability 1/n, so the weighted sum is an unbiased estimate of the
    sum over the whole batch, whatever the batch's order and size. On other devices than the CPU
    the whole batch is read: a compiled reduction is nearly free there, and the draw would have to
    wait for the device.
    """
    every = max(1, min(EVERY, x.shape[0] // FEWEST)) if x.is_cpu else 1
    start = int(torch.randint(every, ())) if every > 1 else 0
    return slice(start, None, every), every
