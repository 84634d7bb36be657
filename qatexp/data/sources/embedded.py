"""scikit-learn's handwritten digits: embedded in that package, nothing to download."""

from __future__ import annotations

import torch

from qatexp.data.source import ImageTensors, Source
from qatexp.data.splits import stratified


def digits(*, test_seed: int = 0) -> Source:
    """Give 1797 grey images of 8x8 pixels in ten classes, 80 % of them to train on.

    Args:
        test_seed: chooses the test images (stratified), independently of ``dataset.split_seed``.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey_levels = torch.from_numpy(raw.images)  # float64, 0..16
    images = (grey_levels * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(raw.target).to(torch.int64)
    train, test = stratified(labels, fraction=0.2, seed=test_seed)
    return Source(
        train=ImageTensors(images[train], labels[train]),
        test=ImageTensors(images[test], labels[test]),
        classes=tuple(str(digit) for digit in range(10)),
    )
