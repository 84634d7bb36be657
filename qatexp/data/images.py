"""What memory and streams have in common: images of one split that are read by index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from qatexp.data.samples import Batch


@dataclass(frozen=True, slots=True)
class Draw:
    """What the augmentation of one epoch is seeded from."""

    seed: int
    epoch: int
    rank: int


class Images(Protocol):
    """The images of one split, in memory or streamed.

    Attributes:
        labels: int64, shape (N,), on the CPU.
        content: hash of the images and labels, or of the files that hold them.
    """

    labels: Tensor
    content: str

    def read(self, batches: Sequence[Tensor], *, draw: Draw | None) -> Iterator[Batch]:
        """Yield one uint8 batch on the device for each tensor of indices.

        Args:
            batches: int64 indices, on the CPU.
            draw: how to augment; None: not at all.
        """
