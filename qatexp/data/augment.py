"""Random changes of training images: per image in a batch (memory) or one by one (streams)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import v2

from qatexp.config.schema import AugmentConfig
from qatexp.data.geometry import Geometry


class FlipEach(v2.Transform):  # type: ignore[misc]
    """Mirror each image of a (B, C, H, W) batch left to right with probability one half.

    `v2.RandomHorizontalFlip` takes one decision for the whole batch. The decisions are drawn from
    `generator`, on its device, so that they do not depend on where the images are.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw one decision for each image."""
        draws = torch.rand(len(flat_inputs[0]), generator=self.generator)
        return {"mirrored": draws < 0.5}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return a new batch."""
        mirrored = params["mirrored"].to(inpt.device, non_blocking=True)
        return torch.where(mirrored[:, None, None, None], inpt.flip(-1), inpt)


class CropEach(v2.Transform):  # type: ignore[misc]
    """Pad a (B, C, H, W) batch with black and cut a random H x W window from each image.

    `v2.RandomCrop` takes one window for the whole batch. See `FlipEach` for the generator.

    Args:
        padding: pixels added on every side, at least 1.
        generator: source of the offsets.
    """

    def __init__(self, padding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.padding = padding
        self.generator = generator

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the upper left corner of each window."""
        corners = (2, len(flat_inputs[0]))
        draws = torch.randint(2 * self.padding + 1, corners, generator=self.generator)
        return {"corners": draws}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return a new batch."""
        top, left = params["corners"].to(inpt.device, non_blocking=True)
        count, _, height, width = inpt.shape
        padded = pad(inpt, [self.padding] * 4)
        # Views of all windows, from which indexing copies one for each image: five times faster
        # than gathering pixel by pixel, 2.5 times faster than slicing in a loop (128x3x32x32).
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=inpt.device), :, top, left]


def batch_augmentation(
    config: AugmentConfig, generator: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """Build the augmentation of uint8 batches in memory.

    `random_resized_crop` is not among it: it has to start from the full-size images, which only
    streams read.
    """
    steps: list[v2.Transform] = []
    if config.crop_padding > 0:
        steps.append(CropEach(config.crop_padding, generator))
    if config.flip:
        steps.append(FlipEach(generator))
    return v2.Compose(steps) if steps else _unchanged


class SampleAugmentation:
    """The augmentation of one PIL image in a stream, from the full-size image to a tensor.

    Randomness comes from torch's default generator, as in all of torchvision's transforms.
    """

    def __init__(self, config: AugmentConfig, geometry: Geometry) -> None:
        size = (geometry.height, geometry.width)
        self.geometry = geometry
        self.resized_crop = (
            v2.RandomResizedCrop(size, antialias=True) if config.random_resized_crop else None
        )
        steps: list[v2.Transform] = []
        if config.crop_padding > 0:
            steps.append(v2.RandomCrop(size, padding=config.crop_padding))
        if config.flip:
            steps.append(v2.RandomHorizontalFlip())
        self.rest = v2.Compose(steps) if steps else _unchanged

    def __call__(self, image: Image.Image, *, where: str) -> Tensor:
        """Return uint8, shape (C, H, W)."""
        if self.resized_crop is None:
            fitted = self.geometry.fit(image, where=where)
        else:
            fitted = self.resized_crop(image)
        return self.rest(v2.functional.pil_to_tensor(fitted))


def _unchanged(images: Tensor) -> Tensor:
    return images
