"""Random images for timing and tests, of any size and number of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qatexp.data.seeding import derived_generator
from qatexp.data.source import ImageTensors, Source

PATTERN_SIDE = 4


def synthetic(
    *,
    num_classes: int = 10,
    channels: int = 3,
    images: int = 512,
    test_images: int = 256,
    image_size: int | None = None,
    noise: float = 0.15,
    data_seed: int = 0,
) -> Source:
    """Give images of a smooth random pattern for each class, plus noise: easy, but not trivial.

    Args:
        num_classes: number of classes, at least 1; images are spread evenly over them.
        channels: per image, at least 1.
        images: number of images to train on.
        test_images: number of images to report on.
        image_size: side in pixels; None gives 32.
        noise: standard deviation of the noise, in units of the full brightness.
        data_seed: chooses patterns and noise.
    """
    side = 32 if image_size is None else image_size
    generator = derived_generator("synthetic patterns", data_seed)
    coarse = torch.rand(num_classes, channels, PATTERN_SIDE, PATTERN_SIDE, generator=generator)
    patterns = interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)

    def draw(split: str, count: int) -> ImageTensors:
        return _draw(patterns, split=split, count=count, noise=noise, data_seed=data_seed)

    return Source(
        train=draw("train", images),
        test=draw("test", test_images),
        classes=tuple(str(index) for index in range(num_classes)),
    )


def _draw(
    patterns: Tensor, *, split: str, count: int, noise: float, data_seed: int
) -> ImageTensors:
    generator = derived_generator("synthetic", split, data_seed)
    labels = torch.arange(count) % len(patterns)
    labels = labels[torch.randperm(count, generator=generator)]
    images = torch.empty((count, *patterns.shape[1:]), dtype=torch.uint8)
    # Image by image: the float image of a whole split would take four times its memory.
    for image, label in zip(images, labels, strict=True):
        drawn = torch.randn(patterns.shape[1:], generator=generator).mul_(noise)
        image.copy_(drawn.add_(patterns[label]).clamp_(0, 1).mul_(255).round_())
    return ImageTensors(images, labels)
