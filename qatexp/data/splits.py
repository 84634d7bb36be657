"""Stratified, seeded division of labelled images in two."""

from __future__ import annotations

import torch
from torch import Tensor

from qatexp.data.seeding import derived_generator


def stratified(labels: Tensor, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide the indices of `labels` so that every class is divided alike.

    Args:
        labels: int64, shape (N,).
        fraction: share of the second part, 0 to 1; round(fraction * N) images as far as every
            class keeps one image in the first part.
        seed: chooses the images.

    Returns:
        Ascending indices of the first and of the second part, which are disjoint and complete.
    """
    generator = derived_generator("split", seed)
    taken: list[Tensor] = []
    members = [torch.nonzero(labels == label).flatten() for label in torch.unique(labels)]
    for indices, count in zip(members, _shares(members, fraction), strict=True):
        order = torch.randperm(len(indices), generator=generator)
        taken.append(indices[order[:count]])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if taken:
        chosen[torch.cat(taken)] = True
    return torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten()


def _shares(members: list[Tensor], fraction: float) -> list[int]:
    """Give each class its whole share; what rounding left goes to the largest remainders."""
    sizes = [len(indices) for indices in members]
    counts = [int(fraction * size) for size in sizes]
    rest = round(fraction * sum(sizes)) - sum(counts)
    by_remainder = sorted(range(len(sizes)), key=lambda i: (counts[i] - fraction * sizes[i], i))
    for index in by_remainder:
        if rest > 0 and counts[index] < sizes[index] - 1:
            counts[index] += 1
            rest -= 1
    return counts
